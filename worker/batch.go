package worker

import (
	"context"
	"errors"
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
	all := min(batchEntries, batchBytes/max(1, l.entrySize), readBytes/l.w.store.Config().MaxData)
	return max(1, all/max(1, len(l.owned)))
}

// cut takes the first entries off that are not more than so many bytes together, one at
// least.
func cut(entries []store.Entry, bytes int) (piece, rest []store.Entry) {
	size := 0
	for i := range entries {
		if size += entries[i].Size(); size > bytes && i > 0 {
			return entries[:i], entries[i:]
		}
	}
	return entries, nil
}

func sizeOf(entries []store.Entry) (n int) {
	for i := range entries {
		n += entries[i].Size()
	}
	return n
}

// process repeats the batch while Redis answers that it cannot now: the entries are
// ours, and every part of the work may be done again. Other failures end the generation, and so
// does every answer that lets the lane look for another node.
func (l *lane) process(ctx, work context.Context, entries []store.Entry) ([]store.Outgoing, []store.Entry, error) {
	var wait time.Duration
	for {
		out, done, err := l.batch.process(work, l.conn, entries)
		forNow := store.IsReply(err) || errors.Is(err, errHeldBack)
		if err == nil || !forNow || l.conn.Lost() || ctx.Err() != nil {
			return out, done, err
		}
		if wait == 0 {
			l.log.Error("Redis refuses the writes of a batch; retrying, events wait", "err", err)
		}
		if store.IsFull(err) {
			l.w.room.refused()
			if err := l.trim(work); err != nil {
				return nil, nil, err
			}
		}
		l.w.metrics.retries.Inc()
		wait = min(max(2*wait, 20*time.Millisecond), maxBackoff)
		ops.Pause(ctx, wait)
		if err := l.keep(work, nil); err != nil {
			return nil, nil, err
		}
	}
}
