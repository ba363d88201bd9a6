package worker

import (
	"context"
	"time"

	"sluice/shared/ops"
	"sluice/shared/store"
)

// count is how many entries of each partition are read at once: so many that all together
// are about batchBytes, judged by the size of those that were read last, and of the
// largest that are allowed no more than readBytes.
func (l *lane) count(last []store.Entry) int {
	if len(last) > 0 {
		l.entrySize = max(sizeOf(last)/len(last), l.entrySize/8) // what grows is believed at once
	}
	return max(1, l.most()/max(1, len(l.owned)))
}

// most is how many entries are read at once.
func (l *lane) most() int {
	return min(batchEntries, batchBytes/max(1, l.entrySize), readBytes/l.w.store.Config().MaxData)
}

// process repeats the batch while Redis answers that it cannot now: the entries are
// ours, and every part of the work may be done again. Other failures end the generation, and so
// does every answer that lets the lane look for another node.
func (l *lane) process(ctx, work context.Context, entries []store.Entry) ([]store.Outgoing, []store.Entry, error) {
	var wait time.Duration
	for {
		out, done, err := l.batch.process(work, l.conn, entries)
		if err == nil || !store.IsReply(err) || l.conn.Lost() || ctx.Err() != nil {
			return out, done, err
		}
		if err := l.refused(work, err, wait == 0); err != nil {
			return nil, nil, err
		}
		wait = min(max(2*wait, 20*time.Millisecond), maxBackoff)
		ops.Pause(ctx, wait)
		if err := l.keep(work, nil); err != nil {
			return nil, nil, err
		}
	}
}

// refused notes that a batch was refused for now, and says so the first time. Where Redis is
// full it makes room.
func (l *lane) refused(ctx context.Context, err error, first bool) error {
	if first {
		l.log.Error("Redis refuses the writes of a batch; retrying, events wait", "err", err)
	}
	l.w.metrics.retries.Inc()
	if !store.IsFull(err) {
		return nil
	}
	l.w.room.refused()
	return l.trim(ctx)
}
