package live

import (
	"slices"

	"sluice/gateway/history"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// catchup brings a subscription what the history has for it, until it meets the live flow;
// first the answer to what the client asked for. The connection's feeder owns it.
type catchup struct {
	s     *Sub
	ask   *Request   // asked for by the client, and not yet read; set under the shard's lock
	next  []*Request // asked for meanwhile, at most maxAsked; the shard's lock guards it
	known known      // since is 0 if it was not here

	answer  [][]byte // `gap` and `subscribed`, to be queued before everything else
	ref     string   // of the request that it answers; the shard's lock guards it
	cursor  *Request // that was read, and of which the device's cursor must be there before the answer
	begins  wire.ID  // where that begins: before a gap, which the client may never hear of
	records []wire.Record
	ended   bool  // behind the records there was nothing when they were read
	readAt  int64 // when that was, Redis's clock in ms
	size    int   // bytes of an event, as seen in the last page
}

// Pages are asked for by a number of events, and so chosen that they have about so many
// bytes: a socket's queue takes no more at once. The number is one of few, since only
// those that want the same share a read.
const (
	pageEvents  = 100
	pieceEvents = 16
	pieceBytes  = 256 << 10
)

// portion is what one of the targets that are read for a connection together may have.
type portion struct{ events, bytes int }

// limit is how many events are read next, each of about size bytes; 0: that is not known.
func (p portion) limit(size int) int {
	if size == 0 {
		size = pieceBytes / pieceEvents
	}
	for _, n := range [...]int{pageEvents, pieceEvents, 4} {
		if n*size <= p.bytes {
			return min(n, p.events)
		}
	}
	return 1
}

// query is the next read. It may come from the cache of pages when the reader has
// everything up to its position. For a client that asks to begin somewhere only the ends of
// the history are read at first: what follows is not, if the answer is a gap.
func (k *catchup) query(p portion) *history.Reading {
	q := &history.Reading{Query: store.Query{Target: k.s.target.name, After: k.s.last, Limit: p.limit(k.size)}, GoesOn: true, Expect: k.size}
	if k.ask != nil {
		q.GoesOn, q.Edges = false, true
		if q.After, q.Limit = k.ask.Start.id, 0; k.ask.Start.kind == startNow {
			q.After = wire.MaxID // nothing of what is there
		}
	}
	return q
}

// judge is the read of the ends for one that seems to have a gap.
func judge(q *history.Reading) *history.Reading {
	return &history.Reading{Query: store.Query{Target: q.Target, After: q.After, Edges: true}}
}

// maxAsked bounds how many moves of a subscription may wait for their answers.
const maxAsked = 16

// takeNext begins with what the client has asked for meanwhile, when what it asked for
// before has its answer. The shard's lock is held.
func (k *catchup) takeNext() {
	if len(k.next) == 0 || k.ask != nil || len(k.answer) > 0 {
		return
	}
	w := k.next[0]
	k.next = k.next[1:]
	k.s.retained = w.Retained
	if w.Start.kind == startNow { // it goes on from where it stands
		k.ref, k.answer = w.Ref, [][]byte{wire.Frame(k.s.stands(w))}
		return
	}
	k.ask = w
	k.forget()
}

// stands is the answer to a client that asks where its subscription stands. The shard's
// lock is held.
func (s *Sub) stands(w *Request) wire.Subscribed {
	return wire.Subscribed{Ref: w.Ref, To: w.Target, Position: s.last, Recovered: true}
}

// unanswered are the refs of what was asked for and will not be answered any more, since
// the subscription has ended.
func (s *Sub) unanswered() (refs []string) {
	s.target.shard.mu.Lock()
	defer s.target.shard.mu.Unlock()
	k := s.catchup
	switch {
	case k == nil:
		return nil
	case k.ask != nil:
		refs = append(refs, k.ask.Ref)
	default:
		refs = append(refs, k.ref)
	}
	for _, w := range k.next {
		refs = append(refs, w.Ref)
	}
	return slices.DeleteFunc(refs, func(ref string) bool { return ref == "" })
}

// forget gives up what was read: it is read again, or found in the cache.
func (k *catchup) forget() { k.records, k.ended = nil, false }

// gap judges what was read.
func (k *catchup) gap(got *piece, c clock) (reason string) {
	p, about := k.s.position, k.known
	if k.ask != nil {
		switch k.ask.Start.kind {
		case startNow, startEarliest:
			return ""
		case startBare:
			return gapAfter(k.ask.Start.id, got, c)
		}
		p, about = at(k.ask.Start.id), known{}
	}
	about.since = max(about.since, unixMs(p.last))
	return p.gap(got, about, c)
}

// take accepts what was read, and makes the answer if one is due. false: it seems that
// there is a gap, which must be looked at with the ends of the history.
func (k *catchup) take(q *history.Reading, c clock, m *Metrics) bool {
	got, reason := pieceOf(q), ""
	if !q.Cached {
		reason = k.gap(got, c)
	}
	if reason != "" && !q.Edges {
		return false
	}
	k.s.ifThere(func() {
		if k.ask != nil || len(k.next) == 0 {
			k.accept(q, got, reason, c, m)
		}
	})
	return true
}

// wantsPage reports whether only the ends were read so far, and something follows.
func (k *catchup) wantsPage() (wants bool) {
	k.s.ifThere(func() { wants = k.ask == nil && len(k.next) == 0 && len(k.records) == 0 && !k.ended })
	return wants
}

// accept goes on from what was read. The shard's lock is held.
func (k *catchup) accept(q *history.Reading, got *piece, reason string, c clock, m *Metrics) {
	k.records, k.readAt = q.Records, c.nowMs
	k.ended = !q.Cached && !q.Page.More && (len(q.Records) > 0 || got.first() == nil)
	switch {
	case len(q.Records) > 0:
		k.size = (got.bytes() + len(q.Records) - 1) / len(q.Records)
	case q.EventBytes > 0:
		k.size = q.EventBytes
	}
	k.place(got)
	switch {
	case reason != "":
		k.cross(got, reason, m)
	case k.s.leaps(got):
		k.s.back(got.first().Prev)
		k.s.jump(got.first().Prev)
	}
	if k.ask != nil {
		if kind := k.ask.Start.kind; kind == startOwn || kind == startBare {
			m.resumed(reason)
		}
		k.answer = append(k.answer, wire.Frame(wire.Subscribed{
			Ref: k.ask.Ref, To: k.s.target.name, Position: k.s.last, Recovered: reason == "",
		}))
		k.ref = k.ask.Ref
		if k.begins = k.s.last; k.s.client.cursors {
			k.cursor = k.ask
		}
		if k.ask.Start.kind == startOwn {
			k.begins = k.ask.Start.id
		}
		k.ask = nil
	}
}

// place sets where the subscription begins. The shard's lock is held.
func (k *catchup) place(got *piece) {
	if k.ask == nil {
		return
	}
	switch {
	case k.ask.Start.kind == startOwn:
		k.s.begin(k.ask.Start.id)
	case got.first() != nil:
		k.s.begin(got.first().Prev) // from here on the position is the target's own
	default:
		k.s.begin(got.edges.Newest)
	}
}

// cross goes over a gap and tells the client. The shard's lock is held.
func (k *catchup) cross(got *piece, reason string, m *Metrics) {
	after := k.s.last
	if k.ask != nil {
		after = k.ask.Start.id
	}
	oldest, to := got.behindGap(after, k.s.retained)
	k.s.back(to)
	k.s.jump(to)
	k.answer = append(k.answer, wire.Frame(wire.Gap{To: k.s.target.name, After: after, Oldest: oldest, Position: to, Reason: reason}))
	m.gap(reason)
	if len(k.records) == 0 || k.records[0].Prev != to {
		k.records, k.ended = nil, to == got.edges.Newest
	}
}

// behindGap is the oldest event that the reader is told of, and where it goes on, behind a gap after an id.
func (p *piece) behindGap(after wire.ID, retained bool) (oldest, to wire.ID) {
	switch {
	case p.holeAfter(after): // what is behind it was not asked for to be left out
		return p.first().ID, p.first().Prev
	case retained:
		return p.edges.Oldest, p.edges.OldestPrev
	}
	return p.edges.Oldest, p.edges.Newest
}

// holeAfter reports whether the gap is a hole in the middle: before it and behind it there
// are events.
func (p *piece) holeAfter(after wire.ID) bool {
	first := p.first()
	return first != nil && after.Less(first.Prev) && p.edges.Oldest.Less(first.ID)
}

func (p *piece) bytes() (n int) {
	for i := range p.records {
		n += len(p.records[i].Frame)
	}
	return n
}
