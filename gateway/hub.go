package gateway

import (
	"bytes"
	"strings"
	"sync"

	"sluice/shared/wire"
)

// hub knows who on this gateway wants what, and holds the live flow in order.
type hub struct {
	gw     *Gateway
	shards []shard // one per partition
}

// shard is a partition's part of the hub.
type shard struct {
	mu      sync.Mutex
	targets map[string]*target
	epoch   uint64 // of the owner's latest reign that was heard of
	seq     uint64 // the last message of that reign
}

// target is something that somebody here subscribes to. Its shard's lock guards it.
type target struct {
	name  string
	shard *shard
	subs  []*sub

	// The live flow. last is the newest event that the live subscriptions have; it is
	// known as soon as there is one of them or a record came.
	last  wire.ID
	known bool
	// before is last before a gap into an empty history, after which last is zero. What
	// comes next may well follow it: an owner knows the ends of its histories.
	before wire.ID
	// queued: waits to read the history (reread.go).
	queued bool
	live   int32 // subscriptions that are in the live flow

	// repair is set while records of the live flow wait for the history before them.
	repair *held
}

// comesNext reports whether an event with this prev is the next one for who has come to
// last: before is what last was before a gap into an empty history, after which it is zero.
func comesNext(prev, last, before wire.ID) bool {
	return prev == last || (last.IsZero() && prev == before)
}

func (t *target) follows(prev wire.ID) bool { return comesNext(prev, t.last, t.before) }

// reset sets the newest event after a gap, or for the first live subscription, of which
// it is the position. before is what that was before a gap into an empty history.
func (t *target) reset(last, before wire.ID) {
	t.last, t.before, t.known = last, wire.ID{}, true
	if last.IsZero() {
		t.before = before
	}
}

// sub is one connection's subscription to a target. The shard's lock guards it.
type sub struct {
	conn   *conn
	target *target
	pos    wire.ID // newest event queued for this connection; who catches up owns it
	before wire.ID // pos before a gap into an empty history
	// held is set while the subscription reads the history; nil in the live flow.
	held  *held
	index int32 // in target.subs
	gone  bool
}

func newHub(gw *Gateway, partitions int) *hub {
	h := &hub{gw: gw, shards: make([]shard, partitions)}
	for i := range h.shards {
		h.shards[i].targets = make(map[string]*target)
	}
	return h
}

func (h *hub) shard(name string) *shard { return &h.shards[h.gw.store.Partition(name)] }

// add subscribes a connection. The subscription holds live records back until it
// joins the live flow. The session is asked for under the shard's lock, so that
// subscribing and unsubscribing have one order there, too.
func (h *hub) add(c *conn, name string) *sub {
	sh := h.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.targets[name]
	if t == nil {
		t = &target{name: name, shard: sh}
		sh.targets[name] = t
	}
	s := &sub{conn: c, target: t, index: int32(len(t.subs)), held: &held{}}
	t.subs = append(t.subs, s)
	h.gw.sessions.want(name, c.id)
	return s
}

// remove ends a subscription.
func (h *hub) remove(s *sub) {
	t := s.target
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	if s.gone {
		return
	}
	s.gone = true
	h.gw.lags.end(s)
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
	if len(t.subs) == 0 || wire.IsUser(t.name) {
		h.gw.sessions.drop(t.name, s.conn.id)
	}
}

// maxPinned is how much larger than a frame the message may be whose memory it
// shares. Queues count frames: what waits in one must not keep many times as much.
const maxPinned = 4

// deliver routes one record of the channel. size is that of its message; stale says
// that it is of an epoch that is over.
func (h *hub) deliver(sh *shard, r *wire.Record, size int, stale bool) {
	t := sh.targets[r.To]
	if t == nil {
		h.gw.metrics.dropped(dropNobody)
		return
	}
	if r.Kind == wire.RecLive && stale {
		h.gw.metrics.dropped(dropStale) // it has no id by which a repeat could be told
		return
	}
	if size > maxPinned*len(r.Frame) {
		r.To, r.Except, r.Frame = t.name, strings.Clone(r.Except), bytes.Clone(r.Frame)
	}
	h.accept(t, r)
}

// accept takes a record into the target's live flow: delivers it, holds it back, or
// drops it as delivered already.
func (h *hub) accept(t *target, r *wire.Record) {
	if r.Kind == wire.RecEvent {
		if t.known && !t.last.Less(r.ID) {
			h.gw.metrics.dropped(dropRepeat)
			return
		}
		// Below the last event, too: then the history has begun anew, and what was in it
		// may be lost.
		if t.repair == nil && t.live > 0 && !t.follows(r.Prev) {
			h.gw.metrics.holes.Inc()
			t.repair = &held{}
			h.gw.reread.add(t)
		}
	}
	if t.repair != nil {
		t.repair.add(h.gw.metrics, r)
		return
	}
	if r.Kind == wire.RecEvent {
		t.last, t.known = r.ID, true
		if defect == "lost-record" && r.ID.Ms%40 == 0 {
			return
		}
	}
	for _, s := range t.subs {
		if s.held != nil {
			s.held.add(h.gw.metrics, r)
		} else if !s.push(r) {
			h.lag(s)
		}
	}
}

// push queues a record for the connection; false says that its queue is full. Records
// that the connection has already are passed over.
func (s *sub) push(r *wire.Record) bool {
	frame := r.Frame
	excepted := r.Except != "" && r.Except == s.conn.id
	switch {
	case r.Kind == wire.RecLive:
		if !excepted && !s.conn.sock.Send(frame) {
			s.conn.gw.metrics.dropped(dropLiveOnly) // live only: nothing to come back to
		}
		return true
	case !s.pos.Less(r.ID):
		return true
	case excepted:
		frame = wire.AppendText(nil, wire.AppendSkip(nil, r.To, r.ID, r.Prev))
	}
	if !s.conn.sock.Send(frame) {
		return false
	}
	s.pos = r.ID
	s.conn.gw.metrics.deliveries.Inc()
	return true
}

// lag takes a subscription out of the live flow: its connection does not keep up.
// The history is its queue from here on.
func (h *hub) lag(s *sub) {
	s.held = &held{missed: true}
	s.target.live--
	h.gw.metrics.lagging.Inc()
	s.conn.catchUp(s)
}

// join brings a subscription into the live flow if everything up to it has been
// queued: the held records continue where the history ended. Otherwise the history
// must be read again.
func (h *hub) join(s *sub) bool {
	t := s.target
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	if s.gone {
		return true
	}
	waiting := s.held
	s.held = &held{behind: waiting.behind}
	if waiting.missed {
		return false
	}
	for i := range waiting.records {
		r := &waiting.records[i]
		hole := r.Kind == wire.RecEvent && s.pos.Less(r.ID) && !comesNext(r.Prev, s.pos, s.before)
		if hole || !s.push(r) {
			waiting.records = waiting.records[i:]
			waiting.miss(h.gw.metrics)
			return false
		}
	}
	if s.pos.Less(t.last) {
		// Somebody else's later read has brought the target on, and what is still on its
		// way up to there is taken for a repeat. One more read has it all.
		if waiting.behind != t.last {
			s.held.behind = t.last
			return false
		}
		if t.live > 0 {
			h.gw.reread.add(t) // the history does not reach so far any more
		}
	}
	s.held = nil
	h.gw.lags.end(s)
	if t.live == 0 { // also back: after a gap the history may go on below what it had
		t.reset(s.pos, s.before)
	}
	t.live++
	return true
}
