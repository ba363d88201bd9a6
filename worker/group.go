package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/shared/ops"
	"sluice/shared/store"
)

// follower is the work for entries of a kind of stream that any worker reads, since their
// order does not count. It may be done again at any point, also by two workers at once.
type follower interface {
	// follow works on entries. Those that are done are acknowledged. Those in again are given
	// to it again, before anything new. All others stay pending until they are claimed.
	follow(ctx context.Context, entries []store.Entry) (done, again []store.Entry, err error)
	// upkeep is called before each read.
	upkeep(ctx context.Context) error
}

// groupLoop reads some partitions for the group of all workers, and claims what a worker
// that has died has left.
type groupLoop struct {
	follower
	w        *Worker
	what     string // it reads, in the log and in /readyz
	reader   *store.GroupReader
	count    int           // entries of each partition that are read at once
	claimAge time.Duration // an entry that was read so long ago was read by somebody who died

	failures prometheus.Counter // batches that failed, or a part of them
	lost     prometheus.Counter // entries that were trimmed before they were claimed

	claimAt time.Time
	again   []store.Entry
}

// groupBlock is how long a read waits; so does a stop.
const groupBlock = 500 * time.Millisecond

// groupLoops are one loop, or on a Cluster one for each partition.
func groupLoops(w *Worker, read func([]int) (*store.GroupReader, error), loop func(partitions []int) *groupLoop) (parts []part, err error) {
	for _, set := range w.together() {
		reader, err := read(set)
		if err != nil {
			return nil, fmt.Errorf("cannot make a reader: %w", err)
		}
		l := loop(set)
		l.w, l.reader = w, reader
		parts = append(parts, l)
	}
	return parts, nil
}

// run reads and works until ctx ends. A batch that is begun is finished; what fails of it
// stays pending.
func (l *groupLoop) run(ctx context.Context) error {
	defer func() { _ = l.reader.Close() }()
	work := context.WithoutCancel(ctx) // every command has its own time limit
	var backoff time.Duration
	for ctx.Err() == nil {
		err := l.turn(work)
		l.w.groupApart(l.what, l.reader)
		if err == nil {
			backoff = 0
			continue
		}
		if backoff == 0 && ctx.Err() == nil {
			l.w.log.Error("cannot work on what gateways report; retrying", "what", l.what, "err", err)
		}
		l.failures.Inc()
		backoff = min(max(2*backoff, 20*time.Millisecond), maxBackoff)
		ops.Pause(ctx, backoff)
	}
	return nil
}

// turn does what is due, and one batch.
func (l *groupLoop) turn(ctx context.Context) error {
	if again := l.again; len(again) > 0 {
		return l.work(ctx, again)
	}
	if now := time.Now(); now.After(l.claimAt) {
		entries, lost, more, err := l.reader.Claim(ctx, l.claimAge)
		if err != nil {
			return err
		}
		if !more {
			l.claimAt = now.Add(l.claimAge)
		}
		l.lost.Add(float64(lost))
		if err := l.work(ctx, entries); err != nil {
			return err
		}
	}
	if err := l.upkeep(ctx); err != nil {
		return err
	}
	entries, err := l.reader.Read(ctx, l.count, groupBlock)
	if err != nil {
		return err
	}
	return l.work(ctx, entries)
}

func (l *groupLoop) work(ctx context.Context, entries []store.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	l.w.activity.note()
	done, again, err := l.follow(ctx, entries)
	l.again = again
	return errors.Join(err, l.reader.Done(ctx, done))
}
