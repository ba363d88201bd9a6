package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// failovers runs a check for each way in which the master of partition 0 is lost. lose
// returns when its replica is the master.
func (x *suite) failovers(t *testing.T, check func(t *testing.T, shard *Shard, lose func())) {
	shard := x.nodes.ShardOf(Key(0, "events"))
	for _, way := range []struct {
		name string
		lose func()
	}{
		{"command", shard.Failover},
		{"kill", func() { shard.Kill(); shard.Promoted() }},
		{"freeze", func() { shard.Master().Pause(); shard.Promoted() }},
	} {
		t.Run(way.name, func(t *testing.T) {
			x.nodes.Detect(detection)
			defer x.nodes.Detect(undetected)
			defer shard.Revive()
			x.reset(t)
			check(t, shard, way.lose)
		})
	}
}

// soon does something until it succeeds, and tells how long that took.
func soon(t *testing.T, what string, do func() error) {
	t.Helper()
	start, failures := time.Now(), 0
	Eventually(t, func() error {
		err := do()
		if err != nil {
			failures++
			err = fmt.Errorf("%s: %w", what, err)
		}
		return err
	})
	if took := time.Since(start); failures > 0 || took > time.Second {
		t.Logf("%s: %v and %d failures after the failover", what, took.Round(time.Millisecond), failures)
	}
}

// lane: an owner is told that something has happened, and begins a fresh term on the new
// master, where everything is read again that it had not acknowledged. What it had
// appended there before is a repeat.
func (x *suite) failoverLane(t *testing.T) {
	x.failovers(t, func(t *testing.T, shard *Shard, lose func()) {
		s, to := x.open(t, nil), targetIn(0, 0)
		a := x.own(t, s, "a", 0)
		ids := x.add(t, 0, to, 4)
		a.next()
		a.append(to, wire.ID{}, ids[:3]...)
		a.ack(ids[0])
		shard.CatchUp()
		lose()

		a.told()
		want(t, "entries read again", idsOf(a.readAgain()), ids[1:])
		batch := appendsOf(s, to, ids[0], ids[1:]...)
		must(t, a.lane.AppendAndRoute(t.Context(), batch, nil))
		for i, repeat := range []bool{true, true, false} {
			want(t, "repeat", batch[i].Repeat, repeat)
		}
		a.ack(ids[1:]...)
		got, prevs := retained(t, s, to)
		want(t, "ids", got, ids)
		want(t, "prevs", prevs, []wire.ID{{}, ids[0], ids[1], ids[2]})
	})
}

// told reads until the owner is told that something has happened. After SENTINEL FAILOVER
// the old master takes writes until clients have heard of the new one.
func (o *owner) told() {
	o.t.Helper()
	Eventually(o.t, func() error {
		if _, err := o.commit(nil); err == nil {
			return errors.New("a lane that has lost its master goes on")
		}
		return nil
	})
}

// readAgain begins a fresh term, as often as needed, and reads.
func (o *owner) readAgain() (entries []store.Entry) {
	o.t.Helper()
	n := 0
	soon(o.t, "reading again", func() (err error) {
		n++
		if err = o.retake(fmt.Sprint("again", n)); err == nil {
			entries, err = o.commit(nil)
		}
		return err
	})
	return entries
}

// retake takes the owner's partitions again after it lost the link; the terms are free or
// its own.
func (o *owner) retake(generation string) error {
	terms, err := o.s.TakeOver(context.Background(), o.name, generation, leaseTTL, o.read.Partitions)
	if err != nil {
		return err
	}
	o.terms, o.read.Generation, o.read.Epochs = terms, generation, nil
	for _, r := range terms {
		if !r.Taken {
			return fmt.Errorf("partition %d is held by %q", r.Partition, r.Owner)
		}
		o.read.Epochs = append(o.read.Epochs, r.Epoch)
	}
	return nil
}

// halfDone is an owner of partition 0 that has read two events of a target, and has appended and acknowledged the first one.
func (x *suite) halfDone(t *testing.T) (a *owner, to string, ids []wire.ID) {
	t.Helper()
	a, to = x.own(t, x.open(t, nil), "a", 0), targetIn(0, 0)
	ids = x.add(t, 0, to, 2)
	a.next()
	a.append(to, wire.ID{}, ids[0])
	a.ack(ids[0])
	return a, to, ids
}

// known term: the new master has heard of the term, and has not what its owner has read and
// written since. What that one knows of histories is void, so it may append nothing more,
// however often it tries: an event would name as its prev one that is lost.
func (x *suite) failoverKnownTerm(t *testing.T) {
	x.failovers(t, func(t *testing.T, shard *Shard, lose func()) {
		a, to, kept := x.halfDone(t)
		s := a.s
		shard.Lag()
		lost := x.add(t, 0, to, 2)
		a.next()
		a.append(to, kept[0], kept[1], lost[0])
		lose()

		soon(t, "the end of the term", func() error {
			err := a.lane.AppendAndRoute(t.Context(), appendsOf(s, to, lost[0], lost[1]), nil)
			if !errors.Is(err, store.ErrFenced) {
				return fmt.Errorf("it goes on: %w", err)
			}
			return nil
		})
		want(t, "entries read again", idsOf(a.readAgain()), kept[1:])
		a.append(to, kept[0], kept[1])
		got, prevs := retained(t, s, to)
		want(t, "ids", got, kept)
		want(t, "prevs", prevs, []wire.ID{{}, kept[0]})
	})
}

// lost tail: a term of which the new master has not heard is over, whatever its owner
// tries, and the next one has what the new master has.
func (x *suite) failoverLostTail(t *testing.T) {
	x.failovers(t, func(t *testing.T, shard *Shard, lose func()) {
		a, to, kept := x.halfDone(t)
		s := a.s
		shard.Lag()
		must(t, a.retake("lost"))
		lost := x.add(t, 0, to, 2)
		want(t, "entries before the failover", idsOf(a.next()), append(kept[1:2:2], lost...))
		lose()

		a.told()
		soon(t, "the end of the term", func() error {
			err := a.lane.AppendAndRoute(t.Context(), appendsOf(s, to, kept[0], kept[1], lost[0]), nil)
			if err == nil {
				t.Fatal("an owner appends by a right that was lost")
			}
			if !errors.Is(err, store.ErrFenced) {
				return err
			}
			return nil
		})
		_, err := a.commit(nil, ackOf(0, kept[1]))
		wantError(t, "commit by a term that was lost", err, store.ErrFenced)
		want(t, "entries of the new master", idsOf(a.readAgain()), kept[1:])
		a.append(to, kept[0], kept[1])
		got, _ := retained(t, s, to)
		want(t, "ids", got, kept)
	})
}

// reader: a reader of a group goes on, and what was read and not done is claimed.
func (x *suite) failoverReader(t *testing.T) {
	x.failovers(t, func(t *testing.T, shard *Shard, lose func()) {
		ctx, s := t.Context(), x.open(t, nil)
		r := x.ackReader(t, s, 0)
		one, two := ackOfUser("u", "d", targetIn(0, 0), id(1, 0)), ackOfUser("u", "d", targetIn(0, 0), id(2, 0))
		appendAcks(t, s, one)
		got, _ := readAcks(t, r)
		want(t, "read before", got, []wire.Ack{one})
		shard.CatchUp()
		lose()

		soon(t, "appending", func() error { errs, _ := s.AppendAcks(ctx, []wire.Ack{two}, 1000); return errors.Join(errs...) })
		soon(t, "reading", func() error {
			entries, err := r.Read(ctx, 10, 20*time.Millisecond)
			if err == nil && len(entries) == 0 {
				err = errors.New("nothing yet")
			}
			return err
		})
		var entries []store.Entry
		soon(t, "claiming", func() (err error) { entries, _, _, err = r.Claim(ctx, 0); return err })
		ids := []string{}
		for _, e := range entries {
			ids = append(ids, fmt.Sprint(e.Fields["id"]))
		}
		want(t, "not done", ids, []string{"1-0", "2-0"})
		soon(t, "acknowledging", func() error { return r.Done(ctx, entries) })
	})
}

// bus: a subscription that is looked after as a gateway does, by messages to itself, hears
// what is published on the new master.
func (x *suite) failoverBus(t *testing.T) {
	x.failovers(t, func(t *testing.T, _ *Shard, lose func()) {
		ctx, s := t.Context(), x.open(t, nil)
		server := x.channelIn0()
		sub := s.Subscribe(server)
		again(t, sub)
		heard := make(chan string, 1000)
		var listening sync.WaitGroup
		defer listening.Wait()
		life, end := context.WithCancel(ctx)
		defer func() { end(); _ = sub.Close() }()
		listening.Go(func() {
			for life.Err() == nil {
				ctx, cancel := context.WithTimeout(life, 2*time.Second)
				payload, subscribed, err := sub.Receive(ctx)
				cancel()
				if err == nil && !subscribed {
					heard <- payload
				}
			}
		})
		send := func(payload string) error {
			return s.Send(ctx, []store.Outgoing{{Server: server, Payload: []byte(payload)}})
		}
		lose()
		soon(t, "hearing", func() error {
			if err := send("there?"); err != nil {
				return err
			}
			select {
			case <-heard:
				return nil
			case <-time.After(20 * time.Millisecond):
				return errors.New("nothing is heard")
			}
		})
		// Pub/Sub forgets: a subscription may still be made anew, as its reader does after 2 s of silence, and a node may not have
		// heard yet of the new master.
		tries, last := 0, ""
		soon(t, "hearing all", func() error {
			tries++
			for n := range 3 {
				if err := send(fmt.Sprintf("%05d.%d", tries, n)); err != nil {
					return err
				}
			}
			late := time.After(time.Second)
			for n := 0; n < 3; {
				select {
				case payload := <-heard:
					switch {
					case payload == "there?":
					case payload < last:
						t.Fatalf("heard %q after %q", payload, last)
					case payload == fmt.Sprintf("%05d.%d", tries, n):
						n++
						last = payload
					default:
						last = payload
					}
				case <-late:
					return fmt.Errorf("%d of 3 are heard, at last %q", n, last)
				}
			}
			return nil
		})
	})
}

// channelIn0 is a gateway whose channel is on the node of partition 0.
func (x *suite) channelIn0() string {
	for i := 0; ; i++ {
		if name := fmt.Sprint("g", i); x.nodes.ShardOf("sluice:server:"+name) == x.nodes.ShardOf(Key(0, "events")) {
			return name
		}
	}
}

// deeds: everything that writes works on the new master, done and done again.
func (x *suite) failoverDeeds(t *testing.T) {
	x.failovers(t, func(t *testing.T, shard *Shard, lose func()) {
		s := x.open(t, nil)
		deeds := x.deeds(t, s)
		shard.CatchUp()
		lose()
		shard.Demote() // what it takes still is lost, as the other checks show
		for _, d := range deeds {
			for range 2 {
				soon(t, d.name, d.do)
			}
			d.done()
		}
	})
}
