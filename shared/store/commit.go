package store

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Outgoing is a message for one gateway.
type Outgoing struct {
	Server  string
	Payload []byte
}

// Ack are entries of one partition that are done.
type Ack struct {
	Partition int
	IDs       []string
	Last      wire.ID // the highest of them
}

// Commit publishes, acknowledges and waits for the next entries, in one round trip
// and in this order. It returns the entries appended to buf. ErrFenced: the term
// is over. With any other error it is open what was done. From here on the lane
// watches the epochs of next: its transactions fail when one of them has moved.
func (l *Lane) Commit(ctx context.Context, out []Outgoing, acks []Ack, next Read, buf []Entry) ([]Entry, error) {
	l.rights(next)
	conn, err := l.link(ctx)
	if err != nil {
		return buf, err
	}
	pipe := conn.Pipeline()
	for _, o := range out {
		pipe.Publish(ctx, l.s.keys.channel(o.Server), o.Payload)
	}
	group := any(groupPrefix + next.Generation)
	w, words := &l.words, 0
	for _, a := range acks {
		words += 3 + len(a.IDs)
	}
	w.reset(words)
	for _, a := range acks {
		w.add("xack", l.s.keys.events(a.Partition), group)
		for i := range a.IDs {
			w.add(&a.IDs[i])
		}
		_ = pipe.Process(ctx, redis.NewIntCmd(ctx, w.end()...))
	}
	var read *redis.XStreamSliceCmd
	if len(next.Partitions) > 0 && next.Count > 0 {
		l.watchToRead(ctx, pipe)
		read = l.read(ctx, pipe, next)
	}
	if pipe.Len() == 0 {
		return buf, nil
	}
	l.watched = false
	cmds, err := exec(ctx, pipe)
	if read != nil && isNoGroup(read.Err()) {
		return buf, ErrFenced
	}
	if err := l.failed(cmds, err); err != nil {
		return buf, fmt.Errorf("cannot publish, acknowledge and read: %w", err)
	}
	l.watched = read != nil
	if read == nil {
		return buf, nil
	}
	return l.s.entries(read, next, buf)
}

// watchToRead watches the epochs before a read. The read succeeds only while the term lasts, so
// what is watched from before it is our own epoch: if a later term moves it, transactions fail. A
// watch of before an earlier read of the term is as good.
func (l *Lane) watchToRead(ctx context.Context, pipe redis.Pipeliner) {
	if l.watched {
		return
	}
	if l.armed { // of another term, or before it
		pipe.Do(ctx, "UNWATCH")
	}
	l.armed = true
	pipe.Do(ctx, l.watchArgs()...)
}
