package worker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// idemTTL is how long an idempotency key is remembered, and how far apart two events with
// one key are no repeats.
const idemTTL = 10 * time.Minute

// step is the way of a batch: validate, claim, append, route, render. What it has to
// publish goes out with the acknowledgement (lane.run). Every part may be done
// again: by a retry, by the next owner, or by a deposed one that wakes up late.
type step struct {
	w     *Worker
	parts map[int]*partition
	stale map[string]struct{} // targets with expired sessions, to be swept
	frame []byte
	json  []byte

	// Of one batch; kept for the next one.
	byTarget map[string]*store.Route
	known    map[string]end // the ends of its targets before it; zero while not asked
	planned  map[string]end // and as they are after the appends that are planned
	trimming map[string]bool
}

// partition is what is known of a partition in this term.
type partition struct {
	ends ends
	out  *outbox
	// tried: entries up to here may have been appended before, by an earlier owner or by
	// a try of this one that failed.
	tried wire.ID
}

// item is one valid entry of a batch.
type item struct {
	wire.Entry
	source    store.Entry
	part      *partition
	claim     *store.Claim
	append    *store.Append // nil of what is live only, and of a kick
	kick      *store.Append
	route     *store.Route
	duplicate bool
	unweighed bool // the bytes of its history are not known from here on
}

func newStep(w *Worker) *step {
	return &step{
		w: w, parts: make(map[int]*partition), stale: make(map[string]struct{}),
		byTarget: make(map[string]*store.Route), known: make(map[string]end), planned: make(map[string]end), trimming: make(map[string]bool),
	}
}

func (s *step) begin(_ context.Context, r store.Term) error {
	s.parts[r.Partition] = &partition{ends: newEnds(s.w.remembered), out: newOutbox(r.Partition, r.Epoch), tried: r.Seen}
	return nil
}

func (s *step) holds() (some, due bool) { return false, false }

func (s *step) full() bool { return false }

func (s *step) end(partition int) { delete(s.parts, partition) }

func (s *step) process(ctx context.Context, conn *store.Lane, entries []store.Entry) (_ []store.Outgoing, done []store.Entry, err error) {
	start := time.Now()
	for _, p := range s.parts {
		p.out.drop() // of a try that failed
	}
	items, letters := s.validate(entries)
	if err := s.prepare(ctx, conn, items); err != nil {
		return nil, nil, err
	}
	appends, routes := s.plan(items, s.unread(ctx, items))
	for _, it := range items {
		it.part.tried = wire.Later(it.part.tried, it.ID)
	}
	if err := conn.AppendAndRoute(ctx, appends, routes); err != nil {
		return nil, nil, err
	}
	for _, r := range routes {
		if r.Bad != nil {
			s.w.badKeys.met("session", r.Bad)
		}
	}
	letters = append(letters, s.refused(items)...)
	if len(letters) > 0 {
		if err := s.w.bury(ctx, letters); err != nil {
			return nil, nil, err
		}
	}
	out := s.publications(items)
	s.learn(items, routes)
	s.w.metrics.step(len(entries), time.Since(start))
	return out, entries, nil
}

// validate tells events from dead letters.
func (s *step) validate(entries []store.Entry) (items []*item, letters []store.DeadLetter) {
	backing := make([]item, len(entries)) // one allocation for the batch
	items = make([]*item, 0, len(entries))
	for i, e := range entries {
		entry, reason := wire.ParseEntry(e.ID, e.Fields, s.w.store.Config().MaxData)
		if reason == "" && s.w.store.Partition(entry.To) != e.Partition {
			reason = wire.ReasonWrongPartition
		}
		if reason != "" {
			letters = append(letters, store.DeadLetter{Entry: e, Reason: reason})
			if entry.Reply.Conn != "" {
				s.refuse(e.Partition, entry.Reply, reason)
			}
			continue
		}
		it := &backing[i]
		it.Entry, it.source, it.part = entry, e, s.parts[e.Partition]
		items = append(items, it)
	}
	return items, letters
}

// refuse tells the client that published what became a dead letter.
func (s *step) refuse(partition int, to wire.Reply, reason string) {
	code := wire.CodeBadRequest
	switch reason {
	case wire.ReasonTooLarge:
		code = wire.CodeTooLarge
	case wire.ReasonHistory, wire.ReasonOrder: // no fault of the client's
		code = wire.CodeUnavailable
	}
	s.parts[partition].out.add(to.Server, &wire.Record{Kind: wire.RecRefused, Conn: to.Conn, Ref: to.Ref, Code: code})
}

// prepare claims idempotency keys and finds the ends of all histories of the batch: in
// the cache, or in Redis. Most batches need no round trip. The batch keeps what it has
// found, since the cache may forget it at any time.
func (s *step) prepare(ctx context.Context, conn *store.Lane, items []*item) error {
	var claims []*store.Claim
	var missing []*store.End
	clear(s.known)
	for _, it := range items {
		if it.Key != "" {
			it.claim = &store.Claim{Partition: it.source.Partition, To: it.To, Key: it.Key, Owner: it.Owner, ID: it.ID, At: it.Added}
			claims = append(claims, it.claim)
		}
		if it.Live || it.Kick != nil {
			continue
		}
		if _, again := s.known[it.To]; again {
			continue
		}
		last, cached := it.part.ends.get(it.To)
		if s.known[it.To] = last; !cached {
			missing = append(missing, &store.End{Partition: it.source.Partition, Target: it.To})
		}
	}
	if len(claims) == 0 && len(missing) == 0 {
		return nil
	}
	if err := conn.Prepare(ctx, claims, missing, idemTTL); err != nil {
		return err
	}
	for _, m := range missing {
		s.known[m.Target] = end{newest: m.Newest, sum: m.Sum, base: m.Sum - m.Bytes}
	}
	for _, it := range items {
		it.duplicate = it.claim != nil && it.claim.First != it.ID
		if it.claim != nil && it.claim.Bad != nil {
			s.w.badKeys.met("idempotency", it.claim.Bad)
		}
	}
	return nil
}

// unread reports whether functions want to hear of events of the batch that nobody acknowledges.
func (s *step) unread(ctx context.Context, items []*item) bool {
	return slices.ContainsFunc(items, func(it *item) bool { return it.Unread > 0 }) && s.w.unread.takes(ctx)
}

// plan gives every event its prev and every target its place in the routing.
func (s *step) plan(items []*item, unread bool) ([]*store.Append, []*store.Route) {
	appends := make([]*store.Append, 0, len(items))
	var routes []*store.Route
	clear(s.byTarget)
	clear(s.planned)
	clear(s.trimming)
	now, every := s.w.store.NowMs(), s.w.store.TouchEvery()
	for _, it := range items {
		if it.duplicate {
			continue
		}
		if it.Kind == 0 { // its producer did not say
			it.Kind = wire.KindOf(it.Data)
		}
		if it.route = s.byTarget[it.To]; it.route == nil {
			it.route = &store.Route{Partition: it.source.Partition, Target: it.To}
			s.byTarget[it.To] = it.route
			routes = append(routes, it.route)
		}
		if it.Kick != nil {
			it.Kick.At = min(it.Kick.At, uint64(now)) // ids may be far ahead: who comes later would be meant for good
			it.kick = &store.Append{Partition: it.source.Partition, Kick: it.Kick}
			appends = append(appends, it.kick)
			continue
		}
		if it.Live {
			continue
		}
		last, ok := s.planned[it.To]
		if !ok {
			last = s.known[it.To]
		}
		it.append = &store.Append{Partition: it.source.Partition, Event: &it.Event, Tried: !it.part.tried.Less(it.ID)}
		if unread {
			it.append.Unread, it.append.MostUnread, it.append.MostOfUser = it.Unread.Milliseconds(), mostUnread, mostOfUser
		}
		it.Prev = last.newest
		if last.newest.Less(it.ID) {
			last.newest = it.ID
			s.count(it, &last)
		} // else it is there already, and Redis will tell its prev
		if now-last.touched >= every {
			it.append.Touch, last.touched = true, now
		}
		s.planned[it.To] = last
		appends = append(appends, it.append)
	}
	return appends, routes
}

// count adds an event to the bytes of its history. The first one that brings it above its
// bound lets it be trimmed, with all events of the batch: the others find it trimmed.
func (s *step) count(it *item, last *end) {
	most := s.w.room.bound.Load()
	if most == 0 || (last.sum == 0 && !it.Prev.IsZero()) {
		last.sum, it.unweighed = 0, true // a sum that lacks events would tell that the history is small
		return
	}
	last.sum += store.HistoryBytes(&it.Event)
	it.append.Sum = last.sum
	if last.sum-last.base > most && !s.trimming[it.To] {
		s.trimming[it.To], it.append.Trim = true, most
	}
}

// refused are the events that Redis cannot append to their history, now or later.
func (s *step) refused(items []*item) (letters []store.DeadLetter) {
	for _, it := range items {
		if it.append == nil || it.append.Err == nil {
			continue
		}
		letters = append(letters, store.DeadLetter{Entry: it.source, Reason: reasonOf(it.append.Err), Claim: it.claim})
	}
	return letters
}

func reasonOf(err error) string {
	if errors.Is(err, store.ErrOrder) {
		return wire.ReasonOrder
	}
	return wire.ReasonHistory
}

// publications renders each event once and puts it into the message of each
// gateway that holds somebody.
func (s *step) publications(items []*item) []store.Outgoing {
	for _, it := range items {
		out := it.part.out
		switch {
		case it.duplicate:
			s.w.metrics.duplicates.Inc()
		case it.Kick != nil:
			s.tellKick(out, it)
		case it.append != nil && it.append.Err != nil:
			if it.Reply.Conn != "" {
				s.refuse(it.source.Partition, it.Reply, reasonOf(it.append.Err))
			}
			continue
		default:
			if it.append != nil && it.append.Repeat {
				s.w.metrics.repeats.Inc()
			}
			s.w.metrics.events.Inc()
			s.w.unread.appended(it)
			s.deliver(out, it)
		}
		if it.Reply.Conn != "" {
			id := it.ID
			if it.duplicate {
				id = it.claim.First
			}
			out.add(it.Reply.Server, &wire.Record{
				Kind: wire.RecPublished, Conn: it.Reply.Conn, Ref: it.Reply.Ref,
				To: it.To, ID: id, Duplicate: it.duplicate,
			})
		}
	}
	var messages []store.Outgoing
	for _, p := range s.parts {
		messages = p.out.seal(messages)
	}
	s.w.metrics.messages.Add(float64(len(messages)))
	return messages
}

// tellKick tells the gateways that hold the user.
func (s *step) tellKick(out *outbox, it *item) {
	s.w.metrics.kicks.Inc()
	if it.kick.Err != nil { // a gateway that loses the message does not find it
		s.w.badKeys.met("kicks", it.kick.Err)
	}
	for _, server := range it.route.Servers {
		out.add(server, &wire.Record{Kind: wire.RecKick, Kick: it.Kick})
	}
}

func (s *step) deliver(out *outbox, it *item) {
	if len(it.route.Servers) == 0 {
		return // nobody is there: the history has it
	}
	s.json = wire.AppendEvent(s.json[:0], &it.Event)
	s.frame = wire.AppendText(s.frame[:0], s.json)
	r := wire.Record{Kind: wire.RecEvent, To: it.To, ID: it.ID, Prev: it.Prev, First: it.First, Except: it.Except, Frame: s.frame}
	if it.Live {
		r.Kind = wire.RecLive
	}
	for _, server := range it.route.Servers {
		out.add(server, &r)
	}
}

// learn remembers the new ends, and the Hashes that want sweeping. Of a history that
// refused an event it is not known any more where it ends.
func (s *step) learn(items []*item, routes []*store.Route) {
	now := s.w.store.NowMs()
	for _, it := range items {
		if it.append == nil {
			continue
		}
		if it.append.Err != nil {
			it.part.ends.drop(it.To)
			continue
		}
		e := s.known[it.To]
		if !it.append.Repeat || e.newest.Less(it.ID) { // what was appended now is the newest, also where more was before
			e.newest = it.ID
			if e.sum = cmp.Or(it.append.Sum, e.sum); it.unweighed {
				e.sum = 0
			}
		}
		if it.append.Touch {
			e.touched = now
		}
		s.known[it.To] = e
		it.part.ends.put(it.To, e)
	}
	for _, it := range items { // behind all sums: what is left has all events of the batch
		if it.append != nil && it.append.Err == nil && it.append.Left > 0 {
			e := s.known[it.To]
			e.base = e.sum - it.append.Left
			it.part.ends.put(it.To, e)
		}
	}
	for _, r := range routes {
		if r.Expired && len(s.stale) < 1000 {
			s.stale[r.Target] = struct{}{}
		}
	}
}

// upkeep sweeps expired sessions and repeats the latest sequence numbers.
func (s *step) upkeep(ctx context.Context) []store.Outgoing {
	if len(s.stale) > 0 {
		targets := make([]string, 0, len(s.stale))
		for t := range s.stale {
			targets = append(targets, t)
		}
		clear(s.stale)
		if n, err := s.w.store.Sweep(ctx, targets); err == nil {
			s.w.metrics.swept.Add(float64(n))
		} // else they are found again
	}
	beats := make(map[string][]wire.Head)
	live := s.w.gateways.Load()
	if live == nil {
		return nil
	}
	for _, p := range s.parts {
		p.out.beats(*live, beats)
	}
	var out []store.Outgoing
	for server, heads := range beats {
		out = append(out, store.Outgoing{Server: server, Payload: wire.AppendBeats(nil, heads)})
	}
	return out
}
