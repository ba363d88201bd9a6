package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/gateway/live"
	"sluice/gateway/publish"
	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	// A channel that is silent is found, and what was lost on it has come, within 3 s.
	heartbeatEvery   = 500 * time.Millisecond
	heartbeatTimeout = 2 * time.Second
	memberTTL        = 3 * time.Second // of the gateway in sluice:servers
	channelMessages  = 1024            // messages that may wait for delivery
	channelBytes     = 64 << 20        // and their bytes
	// atOnceBytes is the largest message that its reader delivers itself when nothing
	// waits: waking another goroutine takes longer.
	atOnceBytes = 4 << 10
)

// listen hears the gateway's channel until ctx ends. Pub/Sub forgets, so this
// assumes that messages are lost: whatever hints at it makes targets read their
// history.
func (g *Gateway) listen(ctx context.Context) error {
	messages := make(chan string, channelMessages)
	var waiting atomic.Int64
	w, ctx := errgroup.WithContext(ctx)
	var current atomic.Pointer[store.Subscription]
	w.Go(func() error { return g.receive(ctx, messages, &waiting, &current) })
	w.Go(func() error { return g.heartbeat(ctx, &current) })
	w.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case payload := <-messages:
				g.dispatch(payload)
				waiting.Add(-int64(len(payload)))
			}
		}
	})
	err := w.Wait()
	_ = current.Load().Close() // it may have been replaced at the very end
	return err
}

// receive reads the channel and does not wait for the delivery, or only of a small
// message when no other one is under way: a subscriber that does not read is cut off.
func (g *Gateway) receive(ctx context.Context, messages chan<- string, waiting *atomic.Int64, current *atomic.Pointer[store.Subscription]) error {
	sub := g.store.Subscribe(g.id)
	current.Store(sub)
	defer func() { _ = current.Load().Close() }()
	stop := context.AfterFunc(ctx, func() { _ = current.Load().Close() })
	defer stop()
	failed := false
	for ctx.Err() == nil {
		payload, subscribed, err := sub.Receive(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			if !failed {
				g.log.Warn("lost the subscription to the gateway's channel; retrying, clients get what they miss from the history", "err", err)
			}
			failed = true
			if now := current.Load(); now != sub {
				sub = now
			} else {
				ops.Pause(ctx, 50*time.Millisecond)
			}
		case subscribed:
			if failed {
				g.log.Info("subscribed to the gateway's channel again")
			}
			failed = false
			g.metrics.subscriptions.Inc()
			g.flow.MissedAll()
			g.registerAgain() // the link may have been lost with a master, and its last writes with it
		case err == nil && len(payload) <= atOnceBytes && waiting.Load() == 0:
			g.sockets.Together(func() { g.dispatch(payload) })
		case err == nil:
			if waiting.Add(int64(len(payload))) > channelBytes {
				waiting.Add(-int64(len(payload)))
				g.metrics.dropped(dropChannel)
				continue
			}
			select {
			case messages <- payload:
			default:
				waiting.Add(-int64(len(payload)))
				g.metrics.dropped(dropChannel) // the sequence numbers tell
			}
		}
	}
	return nil
}

// heartbeat sends itself a message through its channel twice a second; when none
// arrives for too long, the subscription is replaced. It also announces the gateway.
func (g *Gateway) heartbeat(ctx context.Context, current *atomic.Pointer[store.Subscription]) error {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	g.heard.Store(g.store.NowMs())
	replaced := time.Now()
	known := false
	for nonce := uint64(1); ; nonce++ {
		_, fresh, err := g.store.Announce(ctx, store.Servers, g.id, memberTTL)
		if err == nil {
			if fresh && known {
				g.log.Warn("Redis no longer knows this gateway; registering everything again")
				g.registerAgain()
			}
			known = true
			err = g.store.Send(ctx, []store.Outgoing{{Server: g.id, Payload: wire.AppendHeartbeat(nil, nonce)}})
		}
		if err != nil && ctx.Err() == nil {
			g.log.Debug("could not send a heartbeat", "err", err)
		}
		silent := g.store.NowMs() - g.heardMs()
		if silent > heartbeatTimeout.Milliseconds() && time.Since(replaced) > heartbeatTimeout && ctx.Err() == nil {
			replaced = time.Now()
			g.log.Warn("received nothing on the gateway's channel; subscribing again", "silent_ms", silent)
			old := current.Swap(g.store.Subscribe(g.id))
			_ = old.Close()
		}
		select {
		case <-ctx.Done():
			if err := g.store.Leave(store.Servers, g.id); err != nil {
				g.log.Debug("could not remove this gateway from the list in Redis; its entry expires", "err", err)
			}
			return nil
		case <-tick.C:
		}
	}
}

// registerAgain writes what Redis should know of this gateway and its clients once more:
// it may have lost that.
func (g *Gateway) registerAgain() {
	g.sessions.Again()
	g.lags.Again()
	g.acks.CursorsAgain()
}

// heardMs is when the channel was last known to work, by Redis's clock.
func (g *Gateway) heardMs() int64 { return g.heard.Load() }

// dispatch takes one message of the channel apart.
func (g *Gateway) dispatch(payload string) {
	m, err := wire.ParseMessage(payload)
	switch {
	case err != nil:
		g.metrics.dropped(dropMalformed)
	case m.Heartbeat:
		g.heard.Store(g.store.NowMs())
	case m.Acked != nil:
		for i := range m.Acked {
			g.acked(&m.Acked[i])
		}
	case m.Beats != nil:
		for _, b := range m.Beats {
			g.beat(b)
		}
	case m.Redeliver != nil:
		for i := range m.Redeliver {
			g.lags.Asked(&m.Redeliver[i])
		}
	case m.Orders != nil:
		for i := range m.Orders {
			g.ordered(&m.Orders[i])
		}
	default:
		g.batch(&m, len(payload))
	}
}

// batch delivers the records of one partition. size is that of the whole message, in
// bytes.
func (g *Gateway) batch(m *wire.Message, size int) {
	results, records, err := g.flow.Batch(m, size)
	g.metrics.records.Add(float64(records))
	if err != nil {
		g.metrics.dropped(dropMalformed)
	}
	for i := range results {
		g.answer(&results[i])
	}
}

// beat compares an owner's latest sequence number with what came.
func (g *Gateway) beat(b wire.Head) {
	if !g.flow.Beat(b) {
		g.metrics.dropped(dropMalformed)
	}
}

// termBegan: on a Cluster the partition's node may have lost its last writes, though the
// channel, which is another node's, was never lost. Elsewhere a loss of the one node is a
// loss of the channel.
func (g *Gateway) termBegan(partition int) {
	if g.store.PerPartition() {
		g.sessions.AgainOf(partition)
		g.acks.CursorsAgain()
	}
}

// answer gives a client the result of its publish, or ends those who are kicked.
func (g *Gateway) answer(r *wire.Record) {
	if r.Kind == wire.RecKick {
		g.kick(r.Kick, kickSlack)
		return
	}
	g.publisher.Answered(publish.Address{By: r.Conn, Ref: r.Ref})
	var a publish.Asker
	if c := g.conn(r.Conn); c != nil {
		a = c
	} else {
		a = g.api.Asker(r.Conn)
	}
	switch {
	case a == nil:
		g.metrics.dropped(live.DropNobody)
	case r.Kind == wire.RecRefused:
		a.Fail(r.Ref, &wire.FrameError{Code: r.Code, Message: "the event was refused"})
	default:
		a.Published(wire.Published{Ref: r.Ref, To: r.To, ID: r.ID, Duplicate: r.Duplicate})
	}
}
