package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Work is a kind of streams that workers read.
type Work int

// The kinds.
const (
	Events      Work = iota // the intake and the partitions
	Acks                    // of clients
	SlowReports             // about slow clients
)

// progressOf is how far workers have come in a stream.
type progressOf struct {
	stream string
	read   wire.ID // the last entry that was given to a worker
}

// Waits reports whether an entry of these streams waits: no worker has read it, or who did has not finished it.
// It does not depend on Redis's lag, which is not known after an XDEL.
func (s *Store) Waits(ctx context.Context, of ...Work) (bool, error) {
	progress, pending, err := s.progress(ctx, of)
	if err != nil || pending {
		return pending, err
	}
	return s.beyond(ctx, progress)
}

// progress leaves out keys that hold no stream: whoever owns them says so.
func (s *Store) progress(ctx context.Context, of []Work) (progress []progressOf, pending bool, err error) {
	pipe := s.rdb.Pipeline()
	var groups []*redis.XInfoGroupsCmd
	var isOurs []func(group string) bool
	ask := func(stream string, ours func(string) bool) {
		progress = append(progress, progressOf{stream: stream})
		groups = append(groups, pipe.XInfoGroups(ctx, stream))
		isOurs = append(isOurs, ours)
	}
	for _, work := range of {
		if work == Events {
			ask(s.keys.events(Intake), isTenure)
		}
		for p := range s.cfg.Partitions {
			switch work {
			case Events:
				ask(s.keys.events(p), isTenure)
			case Acks:
				ask(s.keys.acks(p), isAnyWorker)
			case SlowReports:
				ask(s.keys.slow(p), isAnyWorker)
			}
		}
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isNoKey, isWrongType); err != nil {
		return nil, false, fmt.Errorf("cannot read what waits for workers: %w", err)
	}
	streams := progress[:0]
	for i, g := range groups {
		if isWrongType(g.Err()) {
			continue
		}
		m := progress[i]
		for _, info := range g.Val() {
			if !isOurs[i](info.Name) {
				continue
			}
			pending = pending || info.Pending > 0
			read, err := parseRedisID(info.LastDeliveredID)
			if err != nil {
				return nil, false, fmt.Errorf("the group %s of %s stands at %q: %w", info.Name, m.stream, info.LastDeliveredID, err)
			}
			m.read = wire.Later(m.read, read)
		}
		streams = append(streams, m)
	}
	return streams, pending, nil
}

func isTenure(group string) bool    { return strings.HasPrefix(group, groupPrefix) }
func isAnyWorker(group string) bool { return group == anyWorker }

// beyond reports whether a stream has an entry that no worker has read.
func (s *Store) beyond(ctx context.Context, progress []progressOf) (bool, error) {
	pipe := s.rdb.Pipeline()
	next := make([]*redis.XMessageSliceCmd, len(progress))
	for i, m := range progress {
		next[i] = pipe.XRangeN(ctx, m.stream, m.read.Next().String(), "+", 1)
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return false, fmt.Errorf("cannot look for entries that no worker has read: %w", err)
	}
	for _, n := range next {
		if len(n.Val()) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// Arrivals waits for events that no worker reads, over a connection of its own: it blocks. One goroutine uses it.
type Arrivals struct {
	s   *Store
	rdb redis.UniversalClient
}

// arrivalsPoll is how often a Cluster is asked: there one command cannot wait for streams of several slots.
const arrivalsPoll = 100 * time.Millisecond

// NewArrivals makes one; Close ends it.
func (s *Store) NewArrivals() (*Arrivals, error) {
	rdb, err := s.cfg.connect(s.nodes, 1, false)
	if err != nil {
		return nil, err
	}
	return &Arrivals{s, rdb}, nil
}

// Close ends its connection, and an Await: it may be called from another goroutine.
func (a *Arrivals) Close() error { return a.rdb.Close() }

// Await waits until an event waits for workers, or so long, and reports which. It takes nothing from the workers.
func (a *Arrivals) Await(ctx context.Context, most time.Duration) (bool, error) {
	progress, pending, err := a.s.progress(ctx, []Work{Events})
	if err != nil || pending || len(progress) == 0 {
		return pending, err
	}
	if a.s.PerPartition() {
		return a.poll(ctx, progress, most)
	}
	if a.s.maxBlock > 0 { // else the link has no time limit
		most = min(most, a.s.maxBlock)
	}
	streams := make([]string, 2*len(progress))
	for i, m := range progress {
		streams[i], streams[len(progress)+i] = m.stream, m.read.String()
	}
	err = a.rdb.XRead(ctx, &redis.XReadArgs{Streams: streams, Count: 1, Block: max(most, time.Millisecond)}).Err()
	switch {
	case errors.Is(err, redis.Nil):
		return false, nil
	case err != nil && !isWrongType(err): // since a moment ago: the next call leaves it out
		return false, fmt.Errorf("cannot wait for events: %w", err)
	}
	return err == nil, nil
}

func (a *Arrivals) poll(ctx context.Context, progress []progressOf, most time.Duration) (bool, error) {
	for end := time.Now().Add(most); ; {
		some, err := a.s.beyond(ctx, progress)
		if err != nil || some || !time.Now().Before(end) {
			return some, err
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-time.After(arrivalsPoll):
		}
	}
}

// WakeTurn reports whether it is this process's turn to wake workers: that of one process of the installation, and then
// of nobody for a time.
func (s *Store) WakeTurn(ctx context.Context, every time.Duration) (bool, error) {
	err := s.rdb.SetArgs(ctx, s.keys.wake(), "1", redis.SetArgs{Mode: "NX", TTL: every}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot take the turn to wake workers: %w", err)
	}
	return true, nil
}
