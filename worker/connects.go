package worker

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
	"sluice/worker/functions"
)

const (
	connectEntries = 64          // of a partition read at once
	connectsAtOnce = 1024        // that wait for a function
	connectAge     = time.Minute // what was read so long ago nobody waits for
)

// connects ask functions who clients are. Nothing is repeated: who had no answer comes again.
type connects struct {
	w      *Worker
	caller *functions.Caller
	slots  chan struct{}
	wg     sync.WaitGroup
}

func connectParts(w *Worker, caller *functions.Caller) ([]part, error) {
	c := &connects{w: w, caller: caller, slots: make(chan struct{}, connectsAtOnce)}
	loops, err := groupLoops(w, w.store.NewConnectReader, func([]int) *groupLoop {
		return &groupLoop{
			follower: c, what: "clients that connect", count: connectEntries, claimAge: connectAge,
			failures: w.metrics.functions.WithLabelValues(wire.ConnectKind, "redis"), lost: w.metrics.functions.WithLabelValues(wire.ConnectKind, "late"),
		}
	})
	for i, l := range loops {
		loops[i] = partFunc(func(ctx context.Context) error {
			defer c.wg.Wait()
			return l.run(ctx)
		})
	}
	return loops, err
}

func (c *connects) upkeep(context.Context) error { return nil }

// follow asks for each client that still waits; all entries are done with that.
func (c *connects) follow(ctx context.Context, entries []store.Entry) (done, _ []store.Entry, err error) {
	for _, e := range entries {
		of, ok := wire.ParseConnect(e.Fields)
		left := time.Duration(int64(of.Until)-c.w.store.NowMs()) * time.Millisecond
		switch {
		case !ok:
			c.count("malformed", 0)
			continue
		case left <= 0:
			c.count("late", 0)
			continue
		}
		select {
		case c.slots <- struct{}{}:
			c.wg.Go(func() {
				defer func() { <-c.slots }()
				ctx, cancel := context.WithTimeout(ctx, left)
				defer cancel()
				c.ask(ctx, &of)
			})
		default:
			c.count("full", 0)
			c.tell(ctx, &of, wire.Order{What: wire.OrderFail})
		}
	}
	return entries, nil, nil
}

func (c *connects) ask(ctx context.Context, of *wire.Connect) {
	begin := time.Now()
	grant, err := c.caller.Connect(ctx, of)
	if err != nil {
		c.count("failed", time.Since(begin))
		c.w.log.Warn("a function did not say who a client is, which is sent away", "id", of.ID(), "err", err)
		c.tell(context.WithoutCancel(ctx), of, wire.Order{What: wire.OrderFail})
		return
	}
	c.count("done", time.Since(begin))
	order := wire.Order{What: wire.OrderClose}
	switch {
	case grant.Close != nil:
		order.Number, order.Text = uint64(max(0, grant.Close.Code)), grant.Close.Reason
	case grant.User != "":
		text, err := json.Marshal(grant)
		if err != nil {
			c.w.log.Error("cannot write a function's answer", "id", of.ID(), "err", err)
			return
		}
		order = wire.Order{What: wire.OrderGrant, Text: string(text)}
	}
	c.tell(ctx, of, order)
}

// tell answers the gateway, which waits no longer than it said.
func (c *connects) tell(ctx context.Context, of *wire.Connect, o wire.Order) {
	o.Conn, o.ID = of.Ask, of.ID()
	err := c.w.store.Send(ctx, []store.Outgoing{{Server: of.Server, Payload: wire.AppendOrders(nil, []wire.Order{o})}})
	if err != nil {
		c.w.log.Warn("cannot tell a gateway who a client is", "id", of.ID(), "err", err)
	}
}

func (c *connects) count(outcome string, took time.Duration) {
	c.w.metrics.function(wire.ConnectKind, outcome, took)
}
