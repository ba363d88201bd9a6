package storetest

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

func (x *suite) commit(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	heard := x.listen(t, s, "g1")
	a := x.own(t, s, "a", 0)
	ids := x.add(t, 0, targetIn(0, 0), 3)
	a.next()
	ids = append(ids, x.add(t, 0, targetIn(0, 0), 2)...)
	out := []store.Outgoing{
		{Server: "g1", Payload: []byte("one")}, {Server: "nobody", Payload: []byte("-")}, {Server: "g1", Payload: []byte("two\x00\xff")},
	}
	had := []store.Entry{{Partition: 7}}
	entries, err := a.lane.Commit(ctx, out, []store.Ack{ackOf(0, ids[:3]...)}, a.read, had)
	must(t, err)
	want(t, "entries appended to", entries[0], had[0])
	want(t, "entries read", idsOf(entries[1:]), ids[3:])
	pending, err := x.Client.XPending(ctx, Key(0, "events"), "workers-"+a.read.Generation).Result()
	must(t, err)
	want(t, "pending", pending.Count, 2)
	want(t, "lowest pending", pending.Lower, ids[3].String())
	want(t, "first message", <-heard, "one")
	want(t, "second message", <-heard, "two\x00\xff")

	// At the end of a worker there is nothing to read.
	none, err := a.lane.Commit(ctx, out[:1], []store.Ack{ackOf(0, ids[3:]...)}, store.Read{Generation: a.read.Generation}, nil)
	must(t, err)
	want(t, "entries without reading", len(none), 0)
	want(t, "pending at the end", x.Client.XPending(ctx, Key(0, "events"), "workers-"+a.read.Generation).Val().Count, 0)
	want(t, "third message", <-heard, "one")
	none, err = a.lane.Commit(ctx, nil, nil, store.Read{}, nil)
	must(t, err)
	want(t, "entries of nothing", len(none), 0)
}

// order: published, then acknowledged, then watched, then read. What is watched already is not
// watched again; after a transaction, and in another term, it is.
func (x *suite) commitOrder(t *testing.T) {
	s := x.open(t, nil)
	a := x.own(t, s, "a", 0)
	ids := x.add(t, 0, targetIn(0, 0), 1)
	a.next()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", x.at(Key(0, "events")).Addr())
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte("MONITOR\r\n"))
	must(t, err)
	lines := bufio.NewScanner(conn)
	lines.Scan() // OK
	commands := []string{"multi", "exec", "publish", "xack", "unwatch", "watch", "xreadgroup"}
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"watching", func() {}, []string{"publish", "xack", "xreadgroup"}},
		{"after a transaction", func() { a.append(targetIn(0, 0), wire.ID{}, ids[0]) }, []string{"multi", "exec", "publish", "xack", "watch", "xreadgroup"}},
		{"watching again", func() {}, []string{"publish", "xack", "xreadgroup"}},
		{"another term", func() { a.take(a.read.Generation, 0) }, []string{"publish", "xack", "unwatch", "watch", "xreadgroup"}},
	} {
		step.do()
		_, err = a.commit([]store.Outgoing{{Server: "g", Payload: []byte("x")}}, ackOf(0, ids...))
		must(t, err)
		var order []string
		for !slices.Contains(order, "xreadgroup") && lines.Scan() {
			for _, word := range commands {
				if line := strings.ToLower(lines.Text()); strings.Contains(line, `] "`+word+`"`) && !strings.Contains(line, "sentinel") {
					order = append(order, word)
				}
			}
		}
		want(t, "order, "+step.what, order, step.want)
	}
}

func (x *suite) commitReading(t *testing.T) {
	s := x.open(t, nil)
	a := x.own(t, s, "a", 0)
	for _, block := range []time.Duration{0, time.Microsecond, 30 * time.Millisecond} {
		a.read.Block = block
		start := time.Now()
		want(t, "entries of an empty stream", len(a.next()), 0)
		if took := time.Since(start); took < block/2 {
			t.Fatalf("a read that may block for %v took %v", block, took)
		}
	}
	a.read.Block, a.read.Count = time.Second, 2
	ids := x.add(t, 0, targetIn(0, 0), 5)
	for _, n := range []int{2, 2, 1} {
		want(t, "entries", idsOf(a.next()), ids[:n])
		ids = ids[n:]
	}
	read := make(chan []store.Entry, 1)
	go func() {
		entries, _ := a.commit(nil)
		read <- entries
	}()
	x.awaitBlocked(t, 1)
	ids = x.add(t, 0, targetIn(0, 0), 1)
	want(t, "entries of a read that waited", idsOf(<-read), ids)

	// Values are what the producer gave, to the byte; of a name given twice the last counts.
	given := x.addAs(t, 0, "*", "to", "\x00\xff", "", "empty name", "data", "", "data", "2", "x", strings.Repeat("y", 1<<20))
	entries := a.next()
	want(t, "odd entry", entries, []store.Entry{{Partition: 0, ID: given, Fields: map[string]any{
		"to": "\x00\xff", "": "empty name", "data": "2", "x": strings.Repeat("y", 1<<20),
	}}})
}

// close: a lane that waits for entries ends when it is closed.
func (x *suite) commitClose(t *testing.T) {
	s := x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	a.read.Block = time.Minute
	ended := make(chan error, 1)
	go func() {
		_, err := a.commit(nil)
		ended <- err
	}()
	x.awaitBlocked(t, 1)
	start := time.Now()
	must(t, a.lane.Close())
	if err := <-ended; x.real() { // else it may have begun after the end
		wantLink(t, "a read on a closed lane", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Fatalf("the read ended %v after Close", took)
	}
	_, err := a.commit(nil)
	wantLink(t, "Commit after Close", err)
}

func (x *suite) commitSeveral(t *testing.T) {
	s := x.open(t, nil)
	want(t, "PerPartition", s.PerPartition(), x.cluster())
	if x.cluster() {
		t.Skip("on a Cluster a lane has one partition")
	}
	a := x.own(t, s, "a", 3, 0, 1)
	ids := map[int][]wire.ID{}
	for _, p := range []int{0, 1, 2, 3} {
		ids[p] = x.add(t, p, targetIn(p, 0), 4)
	}
	a.read.Count = 3 // of each partition
	got := map[int][]wire.ID{}
	for range 2 {
		for _, e := range a.next() {
			got[e.Partition] = append(got[e.Partition], e.ID)
		}
	}
	delete(ids, 2) // not its own
	want(t, "entries by partition", got, ids)
	_, err := a.commit(nil, ackOf(0, ids[0]...), ackOf(3, ids[3]...))
	must(t, err)
	for p, pending := range map[int]int64{0: 0, 1: 4, 3: 0} {
		want(t, "pending", x.Client.XPending(t.Context(), Key(p, "events"), "workers-generation-a").Val().Count, pending)
	}
	// One lost term is enough.
	must(t, s.Release(t.Context(), "a", []int{1}))
	x.own(t, s, "b", 1)
	_, err = a.commit(nil)
	wantError(t, "read with a lost partition", err, store.ErrFenced)
	appends := appendsOf(s, targetIn(0, 0), wire.ID{}, id(1, 1))
	wantError(t, "append with a lost partition", a.lane.AppendAndRoute(t.Context(), appends, nil), store.ErrFenced)
}
