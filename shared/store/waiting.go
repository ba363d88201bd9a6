package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	Calls                   // what functions are to hear
	Connects                // clients of which functions are asked who they are
)

// streams are those of a kind.
func (s *Store) streams(of Work) (names []string) {
	key := s.keys.events
	switch of {
	case Events:
		names = append(names, s.keys.intake())
	case Acks:
		key = s.keys.acks
	case SlowReports:
		key = s.keys.slow
	case Connects:
		key = s.keys.connects
	case Calls:
		key = func(p int) string { return s.keys.events(s.CallsOf(p)) }
	}
	for p := range s.cfg.Partitions {
		names = append(names, key(p))
	}
	return names
}

// Waits reports whether an entry of these streams waits: no worker has read it, or who did has not finished it. So does one that
// a worker is to add when its time has come.
// It does not depend on Redis's lag, which is not known after an XDEL.
func (s *Store) Waits(ctx context.Context, of ...Work) (bool, error) {
	for _, work := range of {
		streams, read, pending, err := s.progress(ctx, work)
		if err == nil && !pending {
			pending, err = s.beyond(ctx, streams, read)
		}
		if err == nil && !pending && work == Calls {
			pending, err = s.anyUser(ctx)
		}
		if err != nil || pending {
			return pending, err
		}
	}
	return false, nil
}

// progress is how far workers have come: streams, the id of the last entry of each that a worker got, and whether one is
// not finished. Keys that hold no stream are left out: whoever owns them says so.
func (s *Store) progress(ctx context.Context, of Work) (streams, read []string, pending bool, err error) {
	all := s.streams(of)
	pipe := s.rdb.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, len(all))
	for i, stream := range all {
		groups[i] = pipe.XInfoGroups(ctx, stream)
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isNoKey, isWrongType); err != nil {
		return nil, nil, false, fmt.Errorf("cannot read what waits for workers: %w", err)
	}
	for i, g := range groups {
		if isWrongType(g.Err()) {
			continue
		}
		last := "0-0"
		for _, info := range g.Val() {
			if info.Name == anyWorker || (of == Events || of == Calls) && strings.HasPrefix(info.Name, groupPrefix) {
				last, pending = info.LastDeliveredID, pending || info.Pending > 0
			}
		}
		streams, read = append(streams, all[i]), append(read, last)
	}
	return streams, read, pending, nil
}

// unreadSoon is how long before they are due events count as waiting that nobody has acknowledged: workers may have to start.
const unreadSoon = time.Minute

// anyUser reports whether functions may have to hear that a user has left, or soon that one has not acknowledged an event.
func (s *Store) anyUser(ctx context.Context) (bool, error) {
	pipe := s.rdb.Pipeline()
	leaving, unread := make([]*redis.StringSliceCmd, s.cfg.Partitions), make([]*redis.StringSliceCmd, s.cfg.Partitions)
	soon := s.NowMs() + unreadSoon.Milliseconds()
	for p := range leaving {
		leaving[p] = pipe.ZRange(ctx, s.keys.leaving(p), 0, 0)
		unread[p] = pipe.ZRangeArgs(ctx, redis.ZRangeArgs{Key: s.keys.unread(p), ByScore: true, Start: "-inf", Stop: soon, Count: 1})
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return false, fmt.Errorf("cannot look for what functions may have to hear of users: %w", err)
	}
	has := func(c *redis.StringSliceCmd) bool { return len(c.Val()) > 0 }
	if slices.ContainsFunc(leaving, has) {
		return true, nil
	}
	if !slices.ContainsFunc(unread, has) {
		return false, nil
	}
	kinds, err := s.Functions(ctx) // what is left from when they took it waits for nobody
	return slices.Contains(kinds, wire.UnreadKind), err
}

// beyond reports whether a stream has an entry behind what was read.
func (s *Store) beyond(ctx context.Context, streams, read []string) (bool, error) {
	pipe := s.rdb.Pipeline()
	next := make([]*redis.XMessageSliceCmd, len(streams))
	for i, stream := range streams {
		next[i] = pipe.XRangeN(ctx, stream, "("+read[i], "+", 1)
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType, isLastID); err != nil {
		return false, fmt.Errorf("cannot look for entries that no worker has read: %w", err)
	}
	for _, n := range next {
		if len(n.Val()) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// isLastID: nothing can be behind it.
func isLastID(err error) bool {
	return strings.Contains(err.Error(), "invalid start ID for the interval")
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
	streams, read, pending, err := a.s.progress(ctx, Events)
	if err != nil || pending {
		return pending, err
	}
	if a.s.PerPartition() || len(streams) == 0 {
		return a.poll(ctx, streams, read, most)
	}
	if a.s.maxBlock > 0 { // else the link has no time limit
		most = min(most, a.s.maxBlock)
	}
	words := []any{"xread", "count", 1, "block", max(most, time.Millisecond).Milliseconds(), "streams"}
	for _, list := range [][]string{streams, read} {
		for _, word := range list {
			words = append(words, word)
		}
	}
	err = a.rdb.Process(ctx, redis.NewXStreamSliceCmd(ctx, words...))
	switch {
	case errors.Is(err, redis.Nil), isWrongType(err): // since a moment ago: the next call leaves it out
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot wait for events: %w", err)
	}
	return true, nil
}

func (a *Arrivals) poll(ctx context.Context, streams, read []string, most time.Duration) (bool, error) {
	for end := time.Now().Add(most); ; {
		some, err := a.s.beyond(ctx, streams, read)
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
	err := s.rdb.Process(ctx, redis.NewStatusCmd(ctx, "set", s.keys.wake(), "1", "nx", "px", every.Milliseconds()))
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot take the turn to wake workers: %w", err)
	}
	return true, nil
}
