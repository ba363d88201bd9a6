package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Read says what a lane reads next, and by which right.
type Read struct {
	Tenure, Consumer string
	Partitions       []int    // on a Cluster one
	Epochs           []uint64 // of the reigns over these partitions
	Count            int      // entries per partition at most; 0: only the right to write, nothing is read
	Block            time.Duration
}

// Claim is an idempotency key to be claimed by an event.
type Claim struct {
	Partition int
	To, Key   string
	Owner     string  // user whose key it is, "": a backend's
	ID        wire.ID // who claims
	At        uint64  // when it was added, in Unix ms; 0: at the time in its id
	First     wire.ID // result: who has it; ID itself if the claim is its own
	Bad       error   // result: a *BadKey, so that nothing is known of the key, and the claim counts as its own
}

// End asks for the newest event of a target.
type End struct {
	Partition int
	Target    string
	Newest    wire.ID // result
}

// Prepare does claims and looks up ends, in one round trip, or two when a key changes its
// holder (claim.go). The claims of a batch are one transaction: were one refused and a
// later one with the same key taken, the first event would count as a repeat of an event
// that is not there yet. Repeatable; ErrFenced when the reign is over.
func (l *Lane) Prepare(ctx context.Context, claims []*Claim, ends []*End, keep time.Duration) error {
	conn, err := l.watching(ctx)
	if err != nil {
		return err
	}
	pipe := conn.Pipeline()
	var claimed *redis.Cmd
	var epochs []*redis.StringCmd
	if len(claims) > 0 {
		pipe.Do(ctx, "MULTI")
		for _, c := range claims {
			pipe.Do(ctx, "SET", l.s.keys.idemOf(c), c.holder().String(), "NX", "GET", "PX", keep.Milliseconds())
		}
		claimed = pipe.Do(ctx, "EXEC")
		epochs = l.watch(ctx, pipe) // the transaction has used the watch up
	}
	newest := make([]*redis.XMessageSliceCmd, len(ends))
	for i, e := range ends {
		newest[i] = pipe.XRevRangeN(ctx, l.s.keys.history(e.Partition, e.Target), "+", "-", 1)
	}
	l.watched = false
	cmds, err := exec(ctx, pipe)
	if err := l.failed(cmds, err, isWrongType); err != nil {
		return fmt.Errorf("cannot prepare a batch: %w", err)
	}
	var changed holders
	if claimed != nil {
		first, err := claimed.Slice() // nil: the watch saw a new reign
		if errors.Is(err, redis.Nil) || !l.mine(epochs) {
			return ErrFenced
		}
		if err != nil || len(first) != len(claims) {
			return fmt.Errorf("cannot claim idempotency keys: %d answers for %d claims: %w", len(first), len(claims), err)
		}
		changed = l.s.hold(claims, first, keep)
	}
	l.watched = true
	for i, e := range ends {
		if m := newest[i].Val(); len(m) > 0 { // a wrong type shows at the append
			e.Newest, _ = parseRedisID(m[0].ID)
		}
	}
	return l.keepHolders(ctx, changed, keep)
}

// Append is an event to be added to its target's history under its own id. If it has a
// prev, the history should be there. If that has ended meanwhile, it begins anew with the
// event, which says so (Event.First), and gets an expiry.
type Append struct {
	Partition int
	Event     *wire.Event
	Touch     bool // also renew the history's expiry and trim what is too old; a result, too
	// Tried: this owner or one before it (Reign.Seen) may have appended the event. If
	// the history is past it and no longer reaches back to it, it was trimmed since,
	// and is no ErrOrder.
	Tried bool

	// Results.
	Repeat bool  // an earlier try has appended it; Event.Prev is what stands there, or its own id if it was trimmed
	Err    error // it cannot be appended, now or later: ErrNotStream or ErrOrder
}

// ErrOrder says that the history already ends above the event's id and does not
// hold it.
var ErrOrder = errors.New("the history is already past the event's id")

// Route asks who holds a target.
type Route struct {
	Partition int
	Target    string

	Servers []string // result: gateways with a live session, once each
	Expired bool     // result: there are expired fields to be swept
	Bad     error    // result: a *BadKey, so that nobody counts as a holder
}

// AppendAndRoute appends the events and then reads the session Hashes, in one round
// trip: since a gateway writes the Hash before it reads the history, one of the two
// always sees the other. It is one transaction: were one append refused for now and a
// later one taken, the first could never be appended under its id any more.
// Repeatable: Redis refuses an id that it has. ErrFenced when the reign is over.
//
// Histories that have ended begin anew in a second round trip, all events of a target
// together.
func (l *Lane) AppendAndRoute(ctx context.Context, appends []*Append, routes []*Route) error {
	ended, err := l.append(ctx, appends, routes)
	if err != nil || len(ended) == 0 {
		return err
	}
	anew := make(map[string]wire.ID) // and the latest event, by target
	for _, a := range ended {
		before, begun := anew[a.Event.To]
		if !begun {
			a.Event.First, a.Touch = true, true
		}
		if !a.Event.Prev.Less(a.Event.ID) { // appended before, and the history has gone since
			a.Event.Prev = before
		}
		anew[a.Event.To] = a.Event.ID
	}
	var again []*Route // who has come since the first look may have read a history without them
	for _, r := range routes {
		if _, begun := anew[r.Target]; begun {
			again = append(again, r)
		}
	}
	_, err = l.append(ctx, ended, again)
	return err
}

// append is one transaction of AppendAndRoute. ended are those whose history is not there
// though their owner knows its newest event; nothing was done for them.
func (l *Lane) append(ctx context.Context, appends []*Append, routes []*Route) (ended []*Append, err error) {
	if len(appends) == 0 && len(routes) == 0 {
		return nil, nil
	}
	s := l.s
	conn, err := l.watching(ctx)
	if err != nil {
		return nil, err
	}
	pipe := conn.TxPipeline()
	added := make([]*redis.StringCmd, len(appends))
	w := &l.words
	w.reset(20*len(appends) + 2*len(routes))
	for i, a := range appends {
		added[i] = l.add(ctx, pipe, a)
	}
	sessions := make([]*redis.StringSliceCmd, len(routes))
	for i, r := range routes {
		w.add("hvals", s.keys.session(r.Partition, r.Target))
		sessions[i] = redis.NewStringSliceCmd(ctx, w.end()...)
		_ = pipe.Process(ctx, sessions[i])
	}
	l.watched = false // used up by the transaction
	cmds, err := exec(ctx, pipe)
	if errors.Is(err, redis.TxFailedErr) {
		return nil, ErrFenced
	}
	// Any other answer than these says that the transaction was refused for now, or is
	// one that nobody thought of: an event is given up only for what is known to last.
	if err := l.failed(cmds, err, isNotAbove, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot append a batch: %w", err)
	}
	var repeats []*Append
	for i, a := range appends {
		a.Repeat, a.Err = false, nil
		switch err := added[i].Err(); {
		case isNotAbove(err):
			repeats = append(repeats, a)
		case isWrongType(err):
			a.Err = ErrNotStream
		case errors.Is(err, redis.Nil):
			ended = append(ended, a)
		}
	}
	for i, r := range routes {
		r.Servers, r.Expired = liveServers(sessions[i].Val(), s.NowMs(), r.Servers[:0])
		r.Bad = nil
		if err := sessions[i].Err(); err != nil {
			r.Bad = badKey(s.keys.session(r.Partition, r.Target), err)
		}
	}
	return ended, l.stored(ctx, repeats)
}

// add adds the commands for one event.
func (l *Lane) add(ctx context.Context, pipe redis.Pipeliner, a *Append) *redis.StringCmd {
	s, w := l.s, &l.words
	key := s.keys.history(a.Partition, a.Event.To)
	w.add("xadd")
	w.text(key)
	if !a.Event.Prev.IsZero() && !a.Event.First {
		w.add("nomkstream")
	}
	w.add("maxlen")
	if s.cfg.HistorySize >= approxFrom {
		w.add("~")
	}
	w.add(l.limit)
	w.text(a.Event.ID.String())
	historyFields(w, a.Event)
	added := redis.NewStringCmd(ctx, w.end()...)
	_ = pipe.Process(ctx, added) // Exec says what failed
	if a.Touch {
		s.touch(ctx, pipe, key, a.Event.ID)
	}
	return added
}

// approxFrom is the history size from which Redis may keep up to one block of 100
// entries more than it must: exact trimming costs half as much again as the append.
const approxFrom = 500

// touchSlack is the part of the history's time to live by which it may live longer,
// so that its expiry need not be renewed at every event.
const touchSlack = 8

// TouchEvery is how often a target's history should be touched, in ms.
func (s *Store) TouchEvery() int64 { return s.cfg.HistoryTTL.Milliseconds() / touchSlack }

// touch renews a history's expiry and trims what is too old, but never its newest event,
// which may have waited long for a worker: a stream that is empty and there would look as
// if something had been trimmed from it when the next event comes.
func (s *Store) touch(ctx context.Context, pipe redis.Pipeliner, key string, newest wire.ID) {
	ttl := s.cfg.HistoryTTL
	pipe.PExpire(ctx, key, ttl+ttl/touchSlack)
	oldest := uint64(max(0, s.NowMs()-ttl.Milliseconds()))
	pipe.XTrimMinIDApprox(ctx, key, strconv.FormatUint(min(oldest, newest.Ms), 10), 0)
}

// stored reads what stands in the histories for events that were refused.
func (l *Lane) stored(ctx context.Context, repeats []*Append) error {
	if len(repeats) == 0 {
		return nil
	}
	conn, err := l.link(ctx)
	if err != nil {
		return err
	}
	pipe := conn.Pipeline()
	there := make([]*redis.XMessageSliceCmd, len(repeats))
	oldest := make([]*redis.XMessageSliceCmd, len(repeats))
	for i, a := range repeats {
		id, key := a.Event.ID.String(), l.s.keys.history(a.Partition, a.Event.To)
		there[i] = pipe.XRange(ctx, key, id, id)
		oldest[i] = pipe.XRangeN(ctx, key, "-", "+", 1)
	}
	cmds, err := exec(ctx, pipe)
	if err := l.failed(cmds, err); err != nil {
		return fmt.Errorf("cannot read events that were appended before: %w", err)
	}
	for i, a := range repeats {
		if m := there[i].Val(); len(m) > 0 {
			e, err := historyEvent(a.Event.To, m[0], a.Event.ID)
			if err != nil {
				return err
			}
			a.Repeat, a.Event.Prev, a.Event.First = true, e.Prev, e.First
			continue
		}
		trimmed := a.Tried
		if m := oldest[i].Val(); len(m) > 0 {
			e, err := oldestEvent(a.Event.To, m[0])
			if err != nil {
				return err
			}
			// Without a prev it begins anew, as after an eviction: what was before is not known.
			reaches := e.ID.Less(a.Event.ID) || (!e.Prev.IsZero() && e.Prev.Less(a.Event.ID))
			trimmed = trimmed && !reaches
		}
		if !trimmed {
			a.Err = ErrOrder
			continue
		}
		// Whoever lacks the event has not reached this prev, and looks into the history.
		a.Repeat, a.Event.Prev = true, a.Event.ID
	}
	return nil
}

// liveServers reads session fields "<serverID> <expires-unix-ms>".
func liveServers(fields []string, nowMs int64, out []string) (servers []string, expired bool) {
	for _, f := range fields {
		server, exp, _ := strings.Cut(f, " ")
		if ms, err := strconv.ParseInt(exp, 10, 64); err != nil || ms < nowMs {
			expired = true
			continue
		}
		if !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	return out, expired
}

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
// and in this order. It returns the entries appended to buf. ErrFenced: the reign
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
	group := any(groupPrefix + next.Tenure)
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
		// The read succeeds only while the reign lasts, so what is watched from just
		// before it is our own epoch: if a later reign moves it, transactions fail.
		pipe.Do(ctx, "UNWATCH")
		pipe.Do(ctx, l.watchArgs()...)
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
