package gateway

import (
	"context"
	"time"

	"sluice/gateway/admit"
	"sluice/gateway/api"
	"sluice/gateway/live"
	"sluice/gateway/lock"
	"sluice/shared/ops"
	"sluice/shared/wire"
)

// kickSlack is by how much a connection that a kick ends may be younger than it, in ms: this process knows Redis's clock
// only so well. A kick that is read again, maybe much later, ends nobody who came back in that time.
const kickSlack = 1000

// kick ends the connections that it means, if they came not more than slack ms after it.
func (g *Gateway) kick(k *wire.Kick, slack int64) {
	var meant []*conn
	g.flow.Each(k.Target(), func(client *live.Client) {
		c, ok := client.Owner().(*conn)
		if !ok {
			client.Owner().(*api.Waiter).Kick(k, slack)
			return
		}
		if (k.Conn == "" || k.Conn == c.id) && (k.Device == "" || k.Device == c.device) && uint64(c.since-slack) <= k.At {
			meant = append(meant, c)
		}
	})
	for _, c := range meant { // no lock is held
		if c.isOver() {
			continue
		}
		c.leave() // its user is offline at once, whenever the client answers the close
		g.metrics.kicked.Inc()
		g.log.Info("ended a connection that was kicked", "conn", c.id, "user", k.User)
		c.sock.Close(wire.CloseForbidden, admit.KickText(k.Reason))
	}
}

// kicks looks into Redis when a message with a kick may have been lost. One goroutine does it, for all partitions.
type kicks struct {
	gw   *Gateway
	wake chan struct{}

	mu  lock.Mutex[lock.Kicks]
	due map[int]bool
}

func newKicks(g *Gateway) *kicks {
	return &kicks{gw: g, wake: make(chan struct{}, 1), due: make(map[int]bool)}
}

// lost says that messages of a partition may have been lost.
func (x *kicks) lost(partition int) {
	x.mu.Lock()
	x.due[partition] = true
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *kicks) take() []int {
	x.mu.Lock()
	defer x.mu.Unlock()
	partitions := make([]int, 0, len(x.due))
	for p := range x.due {
		partitions = append(partitions, p)
	}
	clear(x.due)
	return partitions
}

// run works until ctx ends.
func (x *kicks) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-x.wake:
		}
		partitions := x.take()
		for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
			all, err := x.gw.store.Kicks(ctx, partitions)
			if err == nil {
				for _, k := range all {
					x.gw.kick(k, 0)
				}
				break
			}
			x.gw.log.Debug("cannot look for kicks that may have been lost; retrying", "err", err)
			ops.Pause(ctx, wait)
		}
	}
}

// missed says that for a while workers may not have known that somebody here wants a target.
func (g *Gateway) missed(target string) {
	g.flow.Missed(target)
	if wire.IsUser(target) {
		g.kicks.lost(g.store.Partition(target))
		g.calls.MaybeEnded(target[len(wire.UserTarget("")):])
	}
}
