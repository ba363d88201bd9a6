package worker

import (
	"context"
	"time"

	"sluice/shared/ops"
	"sluice/shared/store"
)

// run is the loop: keep the leases, read, process, and publish, acknowledge and read
// again in one round trip.
func (l *lane) run(ctx context.Context) error {
	defer func() { _ = l.conn.Close() }()
	// What is begun is finished: only the choice to go on looks at ctx. Every command
	// has its own time limit.
	work := context.WithoutCancel(ctx)
	var (
		out     []store.Outgoing
		acks    []store.Ack
		entries []store.Entry
		backoff time.Duration
	)
	for ctx.Err() == nil {
		if err := l.keep(work, &out); err != nil {
			backoff = l.failed(ctx, err, backoff)
			out, acks = nil, nil
			continue
		}
		if len(l.owned) == 0 && len(l.leaving) == 0 && len(out) == 0 && len(acks) == 0 {
			ops.Pause(ctx, balanceEvery/2)
			continue
		}
		next, more := l.read(l.count(entries)), len(l.rest) > 0 || l.mayBring()
		if more || l.batch.full() { // of what was read before
			next.Count = 0
		}
		if next.Count == 0 && !more && len(out) == 0 && len(acks) == 0 {
			ops.Pause(ctx, fullPause)
		}
		var err error
		entries, err = l.conn.Commit(work, out, acks, next, entries[:0])
		if err != nil {
			backoff = l.failed(ctx, err, backoff)
			out, acks = nil, nil
			continue
		}
		if err := l.done(work, acks); err != nil {
			l.log.Warn("could not release the leases; they expire", "after", leaseTTL, "err", err)
		}
		backoff, out, acks = 0, nil, nil
		if next.Count > 0 {
			err = l.sort(work, entries, next.Count)
		}
		var forwarded []store.Entry
		if err == nil {
			forwarded, err = l.bring(work)
		}
		if err != nil {
			backoff = l.failed(ctx, err, backoff)
			continue
		}
		acks = ackAll(forwarded)
		var piece []store.Entry
		piece, l.rest = cut(l.rest, batchBytes)
		l.worksOn(piece)
		if _, due := l.batch.holds(); len(piece) == 0 && !due {
			continue
		}
		var done []store.Entry
		if out, done, err = l.process(ctx, work, piece); err != nil {
			backoff = l.failed(ctx, err, backoff)
			out, acks = nil, nil
			continue
		}
		acks = append(acks, ackAll(done)...)
	}
	l.stop(work, out, acks)
	return nil
}
