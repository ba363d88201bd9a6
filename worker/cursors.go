package worker

import (
	"context"
	"maps"
	"slices"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	ackEntries   = 512 // read at once, of all partitions together
	ackLeast     = 16  // of each partition
	ackClaimAge  = 5 * time.Second
	ackTrimEvery = time.Second
)

// Reasons why an acknowledgement or a cursor was dropped.
const (
	ackDropMalformed = "malformed"  // an entry that no gateway wrote
	ackDropTrimmed   = "trimmed"    // its worker died, and it was trimmed before another one claimed it
	ackDropFull      = "full"       // a device's, whose user has all the cursors that are kept
	ackDropEvicted   = "evicted"    // cursors of devices that were silent for the longest
	ackDropNotHash   = "not_a_hash" // the key of the user's cursors holds something else
)

// acksRole brings acknowledgements from the streams into cursors.
var acksRole = role{name: "acks", reads: store.Acks, parts: ackParts}

func ackParts(w *Worker) ([]part, error) {
	return groupLoops(w, w.store.NewAckReader, func(partitions []int) *groupLoop {
		untrimmed := make(map[int]struct{})
		for _, p := range partitions { // who was there before may have had no time for it
			untrimmed[p] = struct{}{}
		}
		return &groupLoop{
			follower: &ackMover{w: w, untrimmed: untrimmed}, what: "acks",
			count: max(ackLeast, ackEntries/len(partitions)), claimAge: ackClaimAge,
			failures: w.metrics.ackFailures, lost: w.metrics.ackDrops.WithLabelValues(ackDropTrimmed),
		}
	})
}

// ackMover moves cursors. They only move forward, so a batch may be done again at any
// point, also by two workers at once.
type ackMover struct {
	w         *Worker
	untrimmed map[int]struct{} // partitions that may have something to trim
	trimAt    time.Time
}

// follow moves cursors and tells other devices. What Redis refuses for now is tried again
// at once: the entries are ours.
func (a *ackMover) follow(ctx context.Context, entries []store.Entry) (done, again []store.Entry, err error) {
	cursors, malformed := highest(entries)
	changed, err := a.w.store.MoveCursors(ctx, cursors, a.w.acks.CursorTTL)
	switch {
	case store.IsReply(err):
		return nil, entries, err
	case err != nil:
		return nil, nil, err
	}
	m := a.w.metrics
	m.acks.Add(float64(len(entries) - malformed))
	m.ackDrops.WithLabelValues(ackDropMalformed).Add(float64(malformed))
	m.ackDrops.WithLabelValues(ackDropEvicted).Add(float64(changed.Evicted))
	m.ackDrops.WithLabelValues(ackDropNotHash).Add(float64(len(changed.Failed)))
	m.unread.WithLabelValues(unreadAcknowledged).Add(float64(changed.Read))
	var moved []wire.Ack
	for _, c := range cursors {
		switch {
		case c.Moved:
			moved = append(moved, c.Ack)
		case c.Full:
			m.ackDrops.WithLabelValues(ackDropFull).Inc()
		}
	}
	m.cursorsMoved.Add(float64(len(moved)))
	if a.w.acks.Sync && len(moved) > 0 {
		if err := a.tell(ctx, moved); err != nil {
			a.w.log.Warn("could not tell other devices of acknowledgements", "acks", len(moved), "err", err)
		}
	}
	for _, e := range entries {
		a.untrimmed[e.Partition] = struct{}{}
	}
	return entries, nil, nil
}

// highest are the cursors to be moved: of each device and target the highest of its
// acks. Those without a device are receipts only.
func highest(entries []store.Entry) (cursors []*store.Cursor, malformed int) {
	type key struct{ user, device, to string }
	byKey := make(map[key]*store.Cursor)
	for _, e := range entries {
		ack, ok := wire.ParseAck(e.Fields)
		switch {
		case !ok:
			malformed++
			continue
		case ack.Device == "":
			continue
		}
		k := key{ack.User, ack.Device, ack.To}
		c := byKey[k]
		if c == nil {
			c = &store.Cursor{Ack: ack}
			byKey[k] = c
			cursors = append(cursors, c)
		}
		if c.ID.Less(ack.ID) {
			c.ID = ack.ID
		}
	}
	return cursors, malformed
}

// tell sends the acks to the gateways that hold their users. It is live only.
func (a *ackMover) tell(ctx context.Context, acks []wire.Ack) error {
	users := make([]string, len(acks))
	for i := range acks {
		users[i] = wire.UserTarget(acks[i].User)
	}
	holders, err := a.w.store.Holders(ctx, users)
	if err != nil {
		return err
	}
	byServer := make(map[string][]wire.Ack)
	for i, servers := range holders {
		for _, server := range servers {
			byServer[server] = append(byServer[server], acks[i])
		}
	}
	var out []store.Outgoing
	for server, acks := range byServer {
		out = append(out, store.Outgoing{Server: server, Payload: wire.AppendAcked(nil, acks)})
	}
	return a.w.store.Send(ctx, out)
}

// upkeep trims the streams behind the slowest group, once a second. Those where another
// service is behind are looked at again.
func (a *ackMover) upkeep(ctx context.Context) error {
	now := time.Now()
	if len(a.untrimmed) == 0 || !now.After(a.trimAt) {
		return nil
	}
	a.trimAt = now.Add(ackTrimEvery)
	behind, err := a.w.store.TrimAcks(ctx, slices.Collect(maps.Keys(a.untrimmed)))
	if err != nil {
		return err
	}
	clear(a.untrimmed)
	for _, p := range behind {
		a.untrimmed[p] = struct{}{}
	}
	return nil
}
