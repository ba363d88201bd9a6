package storetest

import (
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// waits: something waits until it was read and acknowledged, whatever else is in the stream.
func (x *suite) waits(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	waits := func(when string, is bool, of ...store.Work) {
		t.Helper()
		got, err := s.Waits(ctx, of...)
		must(t, err)
		want(t, when+": something waits", got, is)
	}
	all := []store.Work{store.Events, store.Acks, store.SlowReports}
	waits("nothing is there", false, all...)
	waits("nothing is asked for", false)

	for _, p := range []int{3, store.Intake} {
		x.add(t, p, targetIn(3, 0), 2)
		waits("no worker was there", true, store.Events)
		waits("events", false, store.Acks, store.SlowReports)
		o := x.own(t, s, "a", p)
		entries := o.next()
		waits("all is read", true, store.Events)
		o.ack(idsOf(entries)...)
		waits("all is done, and not trimmed", false, all...)
		must(t, x.Client.XDel(ctx, stream(p), entries[0].ID.String()).Err())
		waits("Redis does not know the lag", false, all...)
		o.leave()
	}
	must(t, x.Client.Set(ctx, Key(9, "events"), "no stream", 0).Err())
	waits("a key holds no stream", false, all...)

	appendAcks(t, s, ackOfUser("u", "phone", targetIn(3, 0), id(17, 1)))
	waits("an ack is there", true, store.Acks)
	r := x.ackReader(t, s, 3)
	_, acks := readAcks(t, r)
	waits("the ack is read", true, store.Acks)
	must(t, r.Done(ctx, acks))
	waits("the ack is done, and kept for others", false, all...)

	must(t, s.ReportSlow(ctx, []wire.SlowReport{{Server: "g", Conn: "c", To: targetIn(4, 0), State: wire.SlowLagging}}))
	waits("a report is there", true, store.SlowReports)
	waits("a report is there", false, store.Events, store.Acks)
}

// arrivals: whoever waits hears at once of what comes, wherever it comes, and takes nothing away.
func (x *suite) arrivals(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a, err := s.NewArrivals()
	must(t, err)
	defer func() { _ = a.Close() }()
	some, err := a.Await(ctx, 20*time.Millisecond)
	must(t, err)
	want(t, "nothing came: arrived", some, false)
	must(t, x.Client.Set(ctx, Key(9, "events"), "no stream", 0).Err()) // it harms only itself
	for _, p := range []int{store.Intake, 3} {
		came := make(chan bool, 1)
		begin := time.Now()
		go func() {
			for ctx.Err() == nil {
				if some, err := a.Await(ctx, time.Minute); err != nil || some {
					came <- err == nil
					return
				}
			}
		}()
		x.add(t, p, targetIn(3, 0), 1)
		select {
		case ok := <-came:
			want(t, "arrived", ok, true)
		case <-time.After(patience):
			t.Fatalf("nothing is heard of an event after %v", time.Since(begin))
		}
		some, err := a.Await(ctx, time.Minute)
		must(t, err)
		want(t, "it still waits: arrived", some, true)
		o := x.own(t, s, "a", p)
		entries := o.next()
		want(t, "left for the worker", len(entries), 1)
		some, err = a.Await(ctx, time.Minute)
		must(t, err)
		want(t, "it is being worked on: arrived", some, true)
		o.ack(idsOf(entries)...)
		some, err = a.Await(ctx, 20*time.Millisecond)
		must(t, err)
		want(t, "it is done: arrived", some, false)
	}
}

// wakeTurn: of many one may wake workers, until the time is over.
func (x *suite) wakeTurn(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	turn := func(every time.Duration) bool {
		t.Helper()
		mine, err := s.WakeTurn(ctx, every)
		must(t, err)
		return mine
	}
	want(t, "the first one's turn", turn(time.Minute), true)
	want(t, "the second one's turn", turn(time.Minute), false)
	left := x.Client.PTTL(ctx, "sluice:wake").Val()
	if left <= 0 || left > time.Minute {
		t.Errorf("sluice:wake lives for %v", left)
	}
}
