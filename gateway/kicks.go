package gateway

import (
	"sluice/gateway/admit"
	"sluice/gateway/api"
	"sluice/gateway/live"
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

// missed says that for a while, since when by Redis's clock in ms, workers may not have known that somebody here wants a target.
func (g *Gateway) missed(target string, since int64) {
	g.flow.Missed(target, since)
	if wire.IsUser(target) {
		g.kicks.Lost(g.store.Partition(target))
		g.calls.MaybeEnded(target[len(wire.UserTarget("")):])
	}
}
