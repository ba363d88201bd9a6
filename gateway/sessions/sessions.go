// Package sessions says in the session Hashes of Redis where this gateway's clients are.
package sessions

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"sluice/gateway/lock"
	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	writeBatch = 1000                   // fields written in one round trip
	renewEvery = 500 * time.Millisecond // renewals are gathered for this long
)

// Store is where the fields stand: a *store.Store.
type Store interface {
	Register(ctx context.Context, server string, expires int64, sessions []store.Session, about ...string) (added []bool, err error)
	Unregister(ctx context.Context, server string, gone []store.Unregistration) error
	Partition(target string) int
	NowMs() int64
}

// Options are what Sessions are made of.
type Options struct {
	Server     string // this gateway's name in the fields
	Store      Store
	Partitions int
	TTL        time.Duration            // of a field that nobody renews
	About      func(conn string) string // what is to be known of a user's connection
	// Missed: for a while a field was not there, so nobody published to this gateway; since, Redis's clock in ms, it may have been so.
	Missed func(target string, since int64)
	Failed func() // a write has failed, or was refused
	Log    *slog.Logger
}

// Sessions keeps this gateway's fields in the session Hashes as they should be. It
// holds what is wanted, and one goroutine writes what differs: so a repeat after a
// failure has no second effect, and subscribing and unsubscribing cannot overtake
// each other.
type Sessions struct {
	o    Options
	wake chan struct{}

	mu      lock.Mutex[lock.Wanted]
	entries map[store.Session]*session
	changed []store.Session // wanted or dropped since the last write
	lost    []bool          // partitions of which Redis may have lost fields
	checks  []store.Session // of these: to be written again, behind what has changed
	renewed []store.Session // to be renewed with the next tick
	strays  []store.Session // removed, and to be removed again
}

type session struct {
	want     bool
	queued   bool          // stands in changed
	checking bool          // stands in checks
	renewing bool          // stands in renewed
	expires  int64         // what was last written, 0: nothing yet
	sent     int64         // the latest that Redis may have, 0: nothing
	doubt    int64         // the latest of a write that failed: Redis may still execute it
	settled  chan struct{} // closed when Redis has what is wanted, or cannot have it; nil if it has
	bad      error         // why Redis cannot have it
}

// New makes Sessions; Run must be called.
func New(o Options) *Sessions {
	return &Sessions{o: o, wake: make(chan struct{}, 1), entries: make(map[store.Session]*session), lost: make([]bool, o.Partitions)}
}

func (s *Sessions) key(target, conn string) store.Session {
	return store.Session{Target: target, Field: store.SessionField(target, conn, s.o.Server)}
}

// Want asks for a field.
func (s *Sessions) Want(target, conn string) {
	k := s.key(target, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[k]
	if e == nil {
		e = &session{}
		s.entries[k] = e
	}
	if e.want {
		return
	}
	e.want = true
	s.change(k, e)
	e.unsettle()
}

// Drop asks for a field to be removed.
func (s *Sessions) Drop(target, conn string) {
	k := s.key(target, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[k]; e != nil && e.want {
		e.want = false
		s.change(k, e)
		e.unsettle()
	}
}

func (e *session) unsettle() {
	if e.settled == nil {
		e.settled = make(chan struct{})
	}
}

func (e *session) settle() {
	if e.settled != nil {
		close(e.settled)
		e.settled = nil
	}
}

// change queues a field for the writer; s.mu is held.
func (s *Sessions) change(k store.Session, e *session) {
	if !e.queued {
		e.queued = true
		s.changed = append(s.changed, k)
	}
	s.signal()
}

func (s *Sessions) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Wait waits until the field is written, or removed, as was last asked for. A
// *store.BadKey says that it cannot be written for now; others can.
func (s *Sessions) Wait(ctx context.Context, target, conn string) error {
	s.mu.Lock()
	e := s.entries[s.key(target, conn)]
	if e == nil || e.settled == nil {
		defer s.mu.Unlock()
		if e != nil {
			return e.bad
		}
		return nil
	}
	settled := e.settled
	s.mu.Unlock()
	select {
	case <-settled:
		s.mu.Lock()
		defer s.mu.Unlock()
		return e.bad
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Renew writes a field again with the next tick.
func (s *Sessions) Renew(target, conn string) {
	k := s.key(target, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[k]; e != nil && e.want && !e.renewing {
		e.renewing = true
		s.renewed = append(s.renewed, k)
	}
}

// Again writes every field again, since Redis may have lost some. Of those that were not
// there the targets' histories are looked at (wrote).
func (s *Sessions) Again() {
	for p := range s.lost {
		s.AgainOf(p)
	}
}

// AgainOf is Again for the fields of one partition.
func (s *Sessions) AgainOf(partition int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost[partition] = true
	s.signal()
}

// check queues the fields of partitions of which Redis may have lost some. Clients that
// come meanwhile need not wait for them.
func (s *Sessions) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.lost, true) {
		return
	}
	for k, e := range s.entries {
		if e.want && !e.checking && s.lost[s.o.Store.Partition(k.Target)] {
			e.checking = true
			s.checks = append(s.checks, k)
		}
	}
	clear(s.lost)
}

// Settled reports whether everything is as it should be.
func (s *Sessions) Settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.settled != nil || (e.want && e.queued) {
			return false
		}
	}
	return true
}

// Run writes until ctx ends.
func (s *Sessions) Run(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	shared := time.NewTicker(s.o.TTL / 3)
	defer shared.Stop()
	strays := time.NewTicker(s.o.TTL / 6)
	defer strays.Stop()
	var backoff time.Duration
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-tick.C:
			s.due()
		case <-shared.C:
			s.renewShared()
		case <-strays.C:
			s.removeStrays()
		}
		for {
			s.check()
			more, err := s.write(ctx)
			if err == nil {
				backoff = 0
				if !more {
					break
				}
				continue
			}
			if ctx.Err() != nil {
				return nil
			}
			if backoff == 0 {
				s.o.Log.Error("cannot write sessions; retrying, new clients wait", "err", err)
			}
			s.o.Failed()
			backoff = min(max(2*backoff, 20*time.Millisecond), time.Second)
			ops.Pause(ctx, backoff)
		}
	}
}

// due queues the renewals that were gathered.
func (s *Sessions) due() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.renewed {
		if e := s.entries[k]; e != nil {
			e.renewing = false
			s.change(k, e)
		}
	}
	s.renewed = s.renewed[:0]
}

// renewShared renews the fields that no pong renews: those of topics and all.
func (s *Sessions) renewShared() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, e := range s.entries {
		if !wire.IsUser(k.Target) && e.want {
			s.change(k, e)
		}
	}
}

// removeStrays removes once more what was removed after a write of it had failed: that
// write may have been executed late, on a link that stood still. What it would have
// written has ended by itself at the time of doubt.
func (s *Sessions) removeStrays() {
	s.mu.Lock()
	defer s.mu.Unlock()
	strays := s.strays
	s.strays = nil
	for _, k := range strays {
		if e := s.entries[k]; e != nil && !e.want {
			s.change(k, e)
		}
	}
}

// next takes the fields of the next batch: what has changed, then what is to be written
// again; s.mu is held.
func (s *Sessions) next() (batch []store.Session) {
	n := min(len(s.changed), writeBatch)
	batch = s.changed[:n:n]
	if s.changed = s.changed[n:]; len(s.changed) == 0 {
		s.changed = nil // a burst of clients needed much
	}
	n = min(len(s.checks), writeBatch-n)
	for _, k := range s.checks[:n] {
		e := s.entries[k]
		if e == nil {
			continue
		}
		e.checking = false
		if e.want && !e.queued { // else it was written since, or is about to be
			batch = append(batch, k)
		}
	}
	if s.checks = s.checks[n:]; len(s.checks) == 0 {
		s.checks = nil
	}
	return batch
}

// write brings one batch of changes to Redis, and reports whether there are more.
func (s *Sessions) write(ctx context.Context) (more bool, err error) {
	var add []store.Session
	var gone []store.Unregistration
	expires := s.o.Store.NowMs() + s.o.TTL.Milliseconds()
	s.mu.Lock()
	batch := s.next()
	more = len(s.changed) > 0 || len(s.checks) > 0
	for _, k := range batch {
		e := s.entries[k]
		e.queued = false
		switch {
		case e.want:
			add = append(add, k)
			e.sent = max(e.sent, expires)
		case e.sent != 0:
			gone = append(gone, store.Unregistration{Session: k, Expires: e.sent})
		default:
			e.settle()
			delete(s.entries, k) // never written
		}
	}
	s.mu.Unlock()
	if len(batch) == 0 {
		return more, nil
	}
	added, err := s.o.Store.Register(ctx, s.o.Server, expires, add, s.about(add)...)
	var refused store.RefusedSessions
	if errors.As(err, &refused) {
		err = nil
	}
	if err == nil {
		err = s.o.Store.Unregister(ctx, s.o.Server, gone)
	}
	if err != nil {
		s.mu.Lock()
		for _, k := range add {
			s.entries[k].doubt = s.entries[k].sent
		}
		for _, k := range batch {
			if e := s.entries[k]; e != nil {
				s.change(k, e)
			}
		}
		s.mu.Unlock()
		return true, err
	}
	s.refuse(refused)
	for target, since := range s.wrote(add, added, gone, expires, refused) {
		s.o.Missed(target, since)
	}
	return more, nil
}

// about is what is to be known of each, where it is a user's connection.
func (s *Sessions) about(add []store.Session) []string {
	about := make([]string, len(add))
	for i, k := range add {
		if wire.IsUser(k.Target) {
			about[i] = s.o.About(k.Field)
		}
	}
	return about
}

// refuse ends the waiting for fields whose keys are bad. They are tried again when they
// are renewed.
func (s *Sessions) refuse(refused store.RefusedSessions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, err := range refused {
		e := s.entries[k]
		if e.bad == nil {
			s.o.Log.Error("cannot register for a target; its clients get the error `unavailable` until the key is deleted", "to", k.Target, "err", err)
		}
		s.o.Failed()
		e.bad = err
	}
}

// wrote notes what has been written, and returns the targets that had a field
// before but for a while had none, and since when: nobody published to this gateway in between.
func (s *Sessions) wrote(
	add []store.Session, added []bool, gone []store.Unregistration, expires int64, refused store.RefusedSessions,
) (missed map[string]int64) {
	now := s.o.Store.NowMs()
	miss := func(target string, since int64) {
		if missed == nil {
			missed = make(map[string]int64)
		}
		if other, ok := missed[target]; !ok || since < other {
			missed[target] = since
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range add {
		e := s.entries[k]
		if refused[k] != nil {
			e.settle()
			continue
		}
		e.bad = nil
		switch {
		case e.expires == 0 || e.settled != nil:
		case e.expires <= now:
			miss(k.Target, e.expires)
		case added[i]: // lost, at any time since it was last written
			miss(k.Target, e.expires-s.o.TTL.Milliseconds())
		}
		e.expires, e.sent = expires, expires
		if e.want {
			e.settle()
		}
	}
	for _, u := range gone {
		e := s.entries[u.Session]
		if e.want || e.queued {
			e.expires = 0
			continue
		}
		e.settle()
		if e.doubt > now {
			e.expires = 0
			s.strays = append(s.strays, u.Session)
			continue
		}
		delete(s.entries, u.Session)
	}
	return missed
}
