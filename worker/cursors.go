package worker

import (
	"context"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	ackEntries   = 512                    // read at once, of all partitions together
	ackLeast     = 16                     // of each partition
	ackBlock     = 500 * time.Millisecond // a stop waits for it
	ackClaimAge  = 5 * time.Second        // an entry that was read so long ago was read by somebody who died
	ackClaims    = ackClaimAge / 2        // how often to look for such entries
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

// ackReader brings acknowledgements from the streams into cursors. Every worker reads
// all partitions: order does not count, since a cursor only moves forward. So a batch may
// be done again at any point, also by two workers at once.
type ackReader struct {
	w          *Worker
	reader     *store.GroupReader
	partitions []int
	untrimmed  map[int]struct{} // partitions that may have something to trim

	claimAt, trimAt time.Time
}

// ackReaders are one, or on a Cluster one for each partition.
func (w *Worker) ackReaders() ([]*ackReader, error) {
	var readers []*ackReader
	for _, set := range w.together() {
		r, err := w.store.NewAckReader(set)
		if err != nil {
			return nil, err
		}
		untrimmed := make(map[int]struct{})
		for _, p := range set { // who was there before may have had no time for it
			untrimmed[p] = struct{}{}
		}
		readers = append(readers, &ackReader{w: w, reader: r, partitions: set, untrimmed: untrimmed})
	}
	return readers, nil
}

// run reads and processes until ctx ends. A batch that is begun is finished; if that
// fails it stays pending, and is claimed.
func (a *ackReader) run(ctx context.Context) error {
	defer func() { _ = a.reader.Close() }()
	work := context.WithoutCancel(ctx) // every command has its own time limit
	var backoff time.Duration
	for ctx.Err() == nil {
		err := a.turn(ctx, work)
		if err == nil {
			backoff = 0
			continue
		}
		if backoff == 0 && ctx.Err() == nil {
			a.w.log.Error("cannot process acknowledgements; retrying", "err", err)
		}
		a.w.metrics.ackFailures.Inc()
		backoff = min(max(2*backoff, 20*time.Millisecond), maxBackoff)
		pause(ctx, backoff)
	}
	return nil
}

// turn does what is due, and one batch.
func (a *ackReader) turn(ctx, work context.Context) error {
	now := time.Now()
	if now.After(a.claimAt) {
		entries, lost, more, err := a.reader.Claim(work, ackClaimAge)
		if err != nil {
			return err
		}
		if !more {
			a.claimAt = now.Add(ackClaims)
		}
		a.w.metrics.ackDrops.WithLabelValues(ackDropTrimmed).Add(float64(lost))
		if err := a.process(ctx, work, entries); err != nil {
			return err
		}
	}
	if now.After(a.trimAt) && len(a.untrimmed) > 0 {
		a.trimAt = now.Add(ackTrimEvery)
		if err := a.trim(work); err != nil {
			return err
		}
	}
	defer a.w.groupApart("acks", a.reader)
	entries, err := a.reader.Read(work, max(ackLeast, ackEntries/len(a.partitions)), ackBlock)
	if err != nil {
		return err
	}
	return a.process(ctx, work, entries)
}

// process moves cursors, tells other devices, and is done with the entries. What Redis
// refuses for now is tried again: the entries are ours.
func (a *ackReader) process(ctx, work context.Context, entries []store.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	cursors, malformed := highest(entries)
	var wait time.Duration
	for {
		evicted, failed, err := a.w.store.MoveCursors(work, cursors, a.w.acks.CursorTTL)
		if err == nil {
			m := a.w.metrics
			m.acks.Add(float64(len(entries) - malformed))
			m.ackDrops.WithLabelValues(ackDropMalformed).Add(float64(malformed))
			m.ackDrops.WithLabelValues(ackDropEvicted).Add(float64(evicted))
			m.ackDrops.WithLabelValues(ackDropNotHash).Add(float64(len(failed)))
			break
		}
		if !store.IsReply(err) || ctx.Err() != nil {
			return err // claimed later, by this worker or another
		}
		if wait == 0 {
			a.w.log.Error("Redis refuses to move cursors; retrying", "err", err)
		}
		a.w.metrics.ackFailures.Inc()
		wait = min(max(2*wait, 20*time.Millisecond), maxBackoff)
		pause(ctx, wait)
	}
	var moved []wire.Ack
	for _, c := range cursors {
		switch {
		case c.Moved:
			moved = append(moved, c.Ack)
		case c.Full:
			a.w.metrics.ackDrops.WithLabelValues(ackDropFull).Inc()
		}
	}
	a.w.metrics.cursorsMoved.Add(float64(len(moved)))
	if a.w.acks.Sync && len(moved) > 0 {
		if err := a.tell(work, moved); err != nil {
			a.w.log.Warn("could not tell other devices of acknowledgements", "acks", len(moved), "err", err)
		}
	}
	if err := a.reader.Done(work, entries); err != nil {
		return err
	}
	for _, e := range entries {
		a.untrimmed[e.Partition] = struct{}{}
	}
	return nil
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
func (a *ackReader) tell(ctx context.Context, acks []wire.Ack) error {
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

// trim trims the streams behind the slowest group. Those where another service is
// behind are looked at again.
func (a *ackReader) trim(ctx context.Context) error {
	partitions := make([]int, 0, len(a.untrimmed))
	for p := range a.untrimmed {
		partitions = append(partitions, p)
	}
	behind, err := a.w.store.TrimAcks(ctx, partitions)
	if err != nil {
		return err
	}
	clear(a.untrimmed)
	for _, p := range behind {
		a.untrimmed[p] = struct{}{}
	}
	return nil
}
