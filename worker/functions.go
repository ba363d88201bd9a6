package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
	"sluice/worker/functions"
)

// functionsRole calls functions with what happens on connections. The calls of a partition are a stream of their own, under
// terms of their own: so the events of one connection come one after the other, and those of others beside them.
var functionsRole = role{name: "functions", reads: store.Calls, tasks: []*taskType{functionDue}, parts: functionParts}

func functionParts(w *Worker) (parts []part, err error) {
	caller, err := functions.NewCaller(&w.functions, w.store.Config().Prefix)
	if err != nil {
		return nil, err
	}
	parts = append(parts, partFunc(w.tellFunctions))
	if caller.Takes(&wire.Call{Kind: wire.ConnectKind}) {
		some, err := connectParts(w, caller)
		if err != nil {
			return nil, err
		}
		parts = append(parts, some...)
	}
	for _, set := range w.together() {
		conn, err := w.store.NewLane(false)
		if err != nil {
			return nil, fmt.Errorf("cannot make a lane: %w", err)
		}
		of := make([]int, len(set))
		for i, p := range set {
			of[i] = w.store.CallsOf(p)
		}
		c := newCalls(w, caller)
		l := newLane(w, conn, of, w.callShare, c)
		parts = append(parts, partFunc(func(ctx context.Context) error {
			defer c.wait()
			return l.run(ctx)
		}))
	}
	return parts, nil
}

// tellFunctions says what the functions take, again before that is forgotten, and when Redis has lost it. Of workers that say different things the
// one that started last counts.
func (w *Worker) tellFunctions(ctx context.Context) error {
	kinds := w.functions.Kinds()
	var said time.Time
	for ; ctx.Err() == nil; ops.Pause(ctx, time.Second) {
		there, err := w.store.Functions(ctx)
		mine := slices.Equal(there, kinds)
		due := said.IsZero() || len(there) == 0 || mine && time.Since(said) > store.FunctionsTTL/8
		if err == nil && due {
			err = w.store.SetFunctions(ctx, kinds)
		}
		if err == nil && due {
			said = time.Now()
		}
	}
	return nil
}

func (c *calls) begin(_ context.Context, r store.Term) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	c.terms[r.Partition] = &callTerm{ctx: ctx, cancel: cancel, seen: r.Seen, began: time.Now()}
	return nil
}

// end forgets a partition. What is under way is given up; the next owner does it again.
func (c *calls) end(partition int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.terms[partition]; r != nil {
		r.cancel()
		delete(c.terms, partition)
	}
	for key, l := range c.lines {
		if key.partition == partition {
			for _, e := range l.events {
				c.held, c.bytes = c.held-1, c.bytes-e.Size()
			}
			delete(c.waiting, eventKey{partition, l.events[0].ID})
			delete(c.lines, key)
		}
	}
	c.finished = slices.DeleteFunc(c.finished, func(e store.Entry) bool {
		if e.Partition != partition {
			return false
		}
		c.held--
		return true
	})
}

// process hands out what was read, and takes what is finished.
func (c *calls) process(ctx context.Context, _ *store.Lane, entries []store.Entry) (_ []store.Outgoing, done []store.Entry, err error) {
	var letters []store.DeadLetter
	parsed := make([]*callEvent, 0, len(entries))
	for _, e := range entries {
		call, ok := wire.ParseCall(e.Fields)
		if !ok {
			letters = append(letters, store.DeadLetter{Entry: e, Reason: wire.ReasonCall})
		}
		if !ok || call.Due != nil {
			done = append(done, e)
		}
		if ok {
			parsed = append(parsed, &callEvent{Entry: e, call: call})
		}
	}
	if len(letters) > 0 {
		if err := c.w.bury(ctx, letters); err != nil {
			return nil, nil, err
		}
	}
	// Nothing is trimmed while an event waits, and one may for an hour: what is no event goes at once. If what is due is tried
	// under another term, that sees that its task has ended.
	if err := c.w.store.DropCalls(ctx, done); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range parsed {
		if e.call.Due != nil {
			c.due(e)
			continue
		}
		c.add(e)
	}
	done = append(done, c.finished...)
	c.held -= len(c.finished)
	c.finished = nil
	slices.SortFunc(done, func(a, b store.Entry) int {
		switch {
		case a.Partition != b.Partition:
			return a.Partition - b.Partition
		case a.ID.Less(b.ID):
			return -1
		}
		return 1
	})
	return nil, done, nil
}

// upkeep looks for connections whose gateways have died, users that have left and events that nobody has acknowledged, and tells it.
// A bad key stops what it is about, and nothing else.
func (c *calls) upkeep(ctx context.Context) []store.Outgoing {
	c.mu.Lock()
	var partitions []int
	for p := range c.terms {
		partitions = append(partitions, p-c.w.store.Config().Partitions)
	}
	c.mu.Unlock()
	for _, p := range partitions {
		for _, look := range []struct {
			of   string
			tell func(ctx context.Context, partition int) error
		}{{"connections", c.tellLost}, {"connections", c.tellGone}, {"unread", c.tellUnread}} {
			err := look.tell(ctx, p)
			var bad *store.BadKey
			switch {
			case errors.As(err, &bad):
				c.w.badKeys.met(look.of, bad)
			case err != nil:
				c.w.log.Debug("cannot look for what functions are to hear", "partition", p, "err", err)
				return nil
			}
		}
	}
	return nil
}

// tellLost tells the ends of connections whose gateways have died.
func (c *calls) tellLost(ctx context.Context, partition int) error {
	lost, _, err := c.w.store.Lost(ctx, partition, lostAtOnce)
	silent, presence := !c.caller.Takes(&wire.Call{Kind: wire.DisconnectedKind}), store.PresenceOf(c.w.functions.Kinds())
	list := make([]*store.Calling, len(lost))
	for i, x := range lost {
		x.Kind, x.ID, x.Cause, x.Trace = wire.DisconnectedKind, wire.DisconnectedID(x.Conn), wire.CauseLost, wire.NewTrace()
		list[i] = &store.Calling{Of: store.CallEnd, Call: x, Silent: silent, Presence: presence}
	}
	c.w.store.AddCalls(ctx, list)
	return err
}

// tellGone tells of users that have had no connection for long enough.
func (c *calls) tellGone(ctx context.Context, partition int) error {
	since := c.w.store.NowMs() - c.w.functions.Offline.Milliseconds()
	_, err := c.w.store.Gone(ctx, partition, since, lostAtOnce, c.caller.Takes(&wire.Call{Kind: wire.OfflineKind}))
	return err
}
