package live

import (
	"bytes"
	"slices"
	"strings"

	"sluice/gateway/lock"
	"sluice/shared/wire"
)

// shard is a partition's part of the Flow.
type shard struct {
	number int // of the partition

	mu      lock.Mutex[lock.Shard]
	targets map[string]*target
	epoch   uint64 // of the owner's latest term that was heard of
	seq     uint64 // the last message of that term
	rival   rival
}

// target is something that somebody here subscribes to. Its shard's lock guards it.
type target struct {
	name  string
	shard *shard
	subs  []*Sub

	// The live flow: position is the one that the live subscriptions have come to. It is
	// known as soon as there is one of them or a record came.
	position
	known bool
	// queued: waits to read the history (reread.go). Until that is done, sinceMs is up to when
	// nothing was missed, by Redis's clock; else 0.
	queued  bool
	sinceMs int64
	live    int32 // subscriptions that are in the live flow
	// eventBytes is the size of an event in the history, as last seen there; 0: not known.
	eventBytes int32

	// repair is set while records of the live flow wait for the history before them.
	repair *held
}

// Sub is one client's subscription to a target. The shard's lock guards what may change.
type Sub struct {
	client *Client
	target *target
	// position is that of the newest event queued for this client. It moves only
	// under the lock; while the history is read, only the feeder moves it.
	position
	// held is set while the subscription reads the history; nil in the live flow.
	held     *held
	catchup  *catchup // the same
	index    int32    // in target.subs
	gone     bool
	answered bool // everything that the client asked of it has its answer in the queue
	retained bool // on_gap: after a gap what is retained follows
}

// add subscribes a connection. The subscription holds live records back until it
// joins the live flow. The session is asked for under the shard's lock, so that
// subscribing and unsubscribing have one order there, too.
func (f *Flow) add(c *Client, w *Request) *Sub {
	name := w.Target
	sh := f.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.targets[name]
	if t == nil {
		t = &target{name: name, shard: sh}
		sh.targets[name] = t
	}
	s := &Sub{client: c, target: t, index: int32(len(t.subs)), held: &held{}, retained: w.Retained}
	s.catchup = &catchup{s: s, ask: w}
	t.subs = append(t.subs, s)
	f.o.Sessions.Want(name, c.id)
	return s
}

// remove ends a subscription.
func (f *Flow) remove(s *Sub) {
	t := s.target
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	if s.gone {
		return
	}
	s.gone = true
	s.client.owner.CaughtUp(s)
	last := len(t.subs) - 1
	t.subs[s.index] = t.subs[last]
	t.subs[s.index].index = s.index
	t.subs[last] = nil
	t.subs = t.subs[:last]
	if s.held == nil {
		t.live--
	}
	if len(t.subs) == 0 {
		delete(t.shard.targets, t.name)
	}
	if len(t.subs) == 0 || wire.IsUser(t.name) && !slices.ContainsFunc(t.subs, func(o *Sub) bool { return o.client == s.client }) {
		f.o.Sessions.Drop(t.name, s.client.id)
	}
}

// maxPinned is how much larger than a frame the message may be whose memory it
// shares. Queues count frames: what waits in one must not keep many times as much.
const maxPinned = 4

// deliver routes one record of the channel. size is that of its message; stale says
// that it is of an epoch that is over.
func (f *Flow) deliver(sh *shard, r *wire.Record, size int, stale bool) {
	t := sh.targets[r.To]
	if t == nil {
		f.o.Metrics.dropped(DropNobody)
		return
	}
	if r.Kind == wire.RecLive && stale {
		f.o.Metrics.dropped(dropStale) // it has no id by which a repeat could be told
		return
	}
	if size > maxPinned*len(r.Frame) {
		r.To, r.Except, r.Frame = t.name, strings.Clone(r.Except), bytes.Clone(r.Frame)
	}
	f.accept(t, r)
}

// accept takes a record into the target's live flow: delivers it, holds it back, or
// drops it as delivered already.
func (f *Flow) accept(t *target, r *wire.Record) {
	if r.Kind == wire.RecEvent {
		if t.known && t.has(r.ID) {
			f.o.Metrics.dropped(dropRepeat)
			return
		}
		// An event before the last one, too, may be what does not follow: then the history has
		// begun again, and what was in it may be lost.
		if t.repair == nil && t.live > 0 && !t.follows(r) {
			f.o.Metrics.Holes.Inc()
			t.repair = &held{}
			f.reread.add(t)
		}
	}
	if t.repair != nil {
		t.repair.add(f.o.Metrics, r)
		return
	}
	if r.Kind == wire.RecEvent {
		t.known = true
		t.advance(r.ID)
	}
	f.spread(t, r)
}

// spread gives a record to all subscriptions of a target.
func (f *Flow) spread(t *target, r *wire.Record) {
	for _, s := range t.subs {
		switch {
		case faults.noBuffer && s.held != nil && r.Kind == wire.RecEvent:
			s.held.lost = wire.Later(s.held.lost, r.ID)
		case s.held != nil:
			s.held.add(f.o.Metrics, r)
		case faults.lose != nil && r.Kind == wire.RecEvent && faults.lose(r.ID):
			s.advance(r.ID)
		case !s.push(r):
			about := f.heardOf(t)
			about.miss(s.position, r)
			f.lag(s, about)
		}
	}
}

// push queues a record for the connection. Records that the connection has already are
// passed over. false: its queue is full, or the record is not the next one.
func (s *Sub) push(r *wire.Record) bool {
	excepted := r.Except != "" && r.Except == s.client.id
	switch {
	case r.Kind == wire.RecLive:
		if !excepted && !s.client.peer.Send(r.Frame) {
			s.client.flow.o.Metrics.dropped(DropLiveOnly) // live only: nothing to come back to
		}
		return true
	case s.has(r.ID):
		return true
	case !s.follows(r):
		return false
	}
	frame, prev := r.Frame, r.Prev
	if s.last.IsZero() && !prev.IsZero() { // of an earlier history: this client has nothing
		frame, prev = wire.FromZero(frame, prev), wire.ID{}
	}
	if excepted {
		frame = wire.AppendText(nil, wire.AppendSkip(nil, r.To, r.ID, prev))
	}
	if !s.client.peer.Send(frame) {
		return false
	}
	s.advance(r.ID)
	s.client.flow.o.Metrics.Deliveries.Inc()
	return true
}

// begin sets where a subscription stands. The shard's lock is held.
func (s *Sub) begin(id wire.ID) {
	s.back(id)
	s.position = at(id)
}

// back tells the owner if a subscription is led back. The shard's lock is held.
func (s *Sub) back(to wire.ID) {
	if to.Less(s.last) {
		s.client.owner.LedBack(s.target.name, s.last)
	}
}

// detach takes a subscription out of the live flow: from here on the history is its queue,
// until it joins again.
func (f *Flow) detach(s *Sub, held *held, about known) *catchup {
	s.held = held
	s.target.live--
	s.catchup = &catchup{s: s, known: about}
	return s.catchup
}

// lag detaches a subscription whose connection does not keep up, or that lacks something.
func (f *Flow) lag(s *Sub, about known) {
	f.o.Metrics.Lagging.Inc()
	s.client.catchUp(replay{f.detach(s, &held{missed: true}, about)})
}

// heardOf is what is known of who is in the live flow of a target: the channel works again at once after it was lost, and
// what was missed meanwhile is not known before the history was read again. The shard's lock is held.
func (f *Flow) heardOf(t *target) known {
	if t.sinceMs != 0 {
		return known{since: t.sinceMs}
	}
	return known{since: f.o.HeardMs()}
}

// join brings a subscription into the live flow if everything up to it has been
// queued: the held records continue where the history ended. Otherwise the history
// must be read again.
func (f *Flow) join(s *Sub) bool {
	t := s.target
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	if s.gone {
		return true
	}
	if len(s.catchup.next) > 0 { // it goes on elsewhere; what is live only still waits with the others
		return false
	}
	waiting := s.held
	s.held = &held{behind: waiting.behind}
	if faults.noBuffer && s.last.Less(waiting.lost) {
		s.advance(waiting.lost)
	}
	if first := waiting.lacks; !first.ID.IsZero() {
		s.catchup.known.miss(s.position, &first)
	}
	if waiting.missed {
		return false
	}
	for i := range waiting.records {
		if !s.push(&waiting.records[i]) {
			waiting.records = waiting.records[i:]
			waiting.miss(f.o.Metrics)
			s.catchup.known.miss(s.position, &waiting.lacks)
			return false
		}
	}
	if s.last.Less(t.last) {
		// Somebody else's later read has brought the target on, and what is still on its
		// way up to there is taken for a repeat. One more read has it all.
		if waiting.behind != t.last {
			s.held.behind = t.last
			return false
		}
		// The history does not reach so far any more. That it has ended is nothing that the
		// others lack.
		if t.live > 0 && !s.last.IsZero() {
			f.reread.add(t)
		}
	}
	s.held, s.catchup = nil, nil
	s.client.owner.CaughtUp(s)
	if t.live == 0 { // also back: after a gap the history may go on below what it had
		t.position, t.known = s.position, true
	}
	t.live++
	return true
}

// rewind lets a subscription begin again where the client asks for; until that is read
// it stays as it is. Without a position it says where it stands. begun is its way back into
// the live flow, nil if it is on one already, or needs none. false: too much that was asked
// for before has no answer yet.
func (f *Flow) rewind(s *Sub, w *Request) (begun *catchup, ok bool) {
	s.target.shard.mu.Lock()
	defer s.target.shard.mu.Unlock()
	switch {
	case s.gone:
		return nil, false
	case s.answered && w.Start.kind == startNow:
		s.retained = w.Retained
		s.client.owner.Tell(s.stands(w))
		return nil, true
	case s.held == nil:
		s.answered, s.retained = false, w.Retained
		begun = f.detach(s, &held{}, f.heardOf(s.target))
		begun.ask = w
		return begun, true
	case len(s.catchup.next) >= maxAsked:
		return nil, false
	}
	s.answered = false
	s.catchup.next = append(s.catchup.next, w)
	return nil, true
}
