package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Fields of a history's entry. The entry's id is the event's.
const (
	fieldPrev   = "prev"
	fieldData   = "data"
	fieldKind   = "kind" // how data stands in the frame, so that nobody looks again
	fieldName   = "event"
	fieldFrom   = "from"
	fieldExcept = "except"
	fieldTrace  = "traceparent"
	fieldFirst  = "first" // "1": the first entry of a history that begins again
	fieldSum    = "sum"   // bytes of the history's entries up to this one: the difference of two is what lies between
)

// HistoryBytes is what an event counts for in the bound of its history in bytes: its texts,
// and about what Redis needs besides. lua/history.lua counts the same.
func HistoryBytes(e *wire.Event) int64 {
	return int64(64 + len(e.Data) + len(e.Name) + len(e.From) + len(e.Except) + len(e.Trace))
}

func historyFields(w *words, e *wire.Event, sum int64) {
	w.add(fieldPrev)
	w.text(e.Prev.String())
	w.add(fieldData, &e.Data, fieldKind)
	switch e.Kind {
	case wire.JSON:
		w.add("j")
	case wire.Text:
		w.add("t")
	default:
		w.add("b")
	}
	for _, f := range [...]struct {
		name  string
		value *string
	}{{fieldName, &e.Name}, {fieldFrom, &e.From}, {fieldExcept, &e.Except}, {fieldTrace, &e.Trace}} {
		if *f.value != "" {
			w.text(f.name)
			w.add(f.value)
		}
	}
	if e.First {
		w.add(fieldFirst, "1")
	}
	if sum > 0 {
		w.add(fieldSum)
		w.text(strconv.FormatInt(sum, 10))
	}
}

// historyEvent reads an entry. prev stands in for what an entry that no worker wrote
// does not say: whoever added it by hand must not stop the readers of other targets.
func historyEvent(to string, m redis.XMessage, prev wire.ID) (wire.Event, error) {
	e := wire.Event{To: to}
	text := func(name string) string { s, _ := m.Values[name].(string); return s }
	var err error
	if e.ID, err = parseRedisID(m.ID); err != nil {
		return e, fmt.Errorf("history of %s, entry %q: %w", to, m.ID, err)
	}
	e.Prev = prevOf(text(fieldPrev), e.ID, prev)
	e.Data, e.Name, e.From = text(fieldData), text(fieldName), text(fieldFrom)
	e.Except, e.Trace = text(fieldExcept), text(fieldTrace)
	e.First = text(fieldFirst) != ""
	if kind := text(fieldKind); kind != "" {
		e.Kind = wire.DataKind(kind[0])
	} else {
		e.Kind = wire.KindOf(e.Data)
	}
	return e, nil
}

// oldestEvent reads the first entry of a history. Without a prev anything may be
// missing before it.
func oldestEvent(to string, m redis.XMessage) (wire.Event, error) {
	id, err := parseRedisID(m.ID)
	if err != nil {
		return wire.Event{}, fmt.Errorf("history of %s, oldest entry %q: %w", to, m.ID, err)
	}
	return historyEvent(to, m, id)
}

// Page is a piece of a history.
type Page struct {
	Events []wire.Event
	More   bool // there may be more after the last one
}

// Query is one target's part of a History call.
type Query struct {
	Target string
	After  wire.ID
	Edges  bool // ask for the edges, and what follows After
	Limit  int  // events at most, 0: none wanted

	// Results. Those behind Err and before Page are asked for with Edges, and cost no entry.
	Err        error // with one the others say nothing
	Got        Edges
	Next       Next // zero when nothing follows After
	EventBytes int  // of an event of this history, on average; 0: not known
	Page       Page
}

// History reads pieces of histories, in one round trip. In each query the edges
// are read before the page, so an id that was ever given to a client and is above
// Newest is none that this history knows. A key that holds no stream is an empty
// history. With an error none of them was read. On a Cluster, of which one node may be
// away, only some may have been: then the others have an Err.
func (s *Store) History(ctx context.Context, queries ...*Query) error {
	err := s.histories(ctx, queries)
	if err == nil || !s.PerPartition() || ctx.Err() != nil {
		return err
	}
	// Once more by partition, each whole or not at all: in a pipeline to many nodes it is not known well enough what one of them did.
	byPartition := make(map[int][]*Query)
	for _, q := range queries {
		p := s.keys.partition(q.Target)
		byPartition[p] = append(byPartition[p], q)
	}
	if len(byPartition) == 1 {
		return err
	}
	var group sync.WaitGroup
	for _, of := range byPartition {
		group.Go(func() {
			err := s.histories(ctx, of)
			for _, q := range of {
				q.Err = err
			}
		})
	}
	group.Wait()
	if slices.ContainsFunc(queries, func(q *Query) bool { return q.Err == nil }) {
		return nil
	}
	return err
}

func (s *Store) histories(ctx context.Context, queries []*Query) error {
	err := s.history(ctx, historyEnds.EvalSha, queries)
	if isNoScript(err) { // a restart, or another node
		err = s.history(ctx, historyEnds.Eval, queries)
	}
	if err != nil {
		return fmt.Errorf("cannot read histories: %w", err)
	}
	return nil
}

func (s *Store) history(ctx context.Context, run runScript, queries []*Query) error {
	pipe := s.rdb.Pipeline()
	edges := make([]*redis.Cmd, len(queries))
	pages := make([]*redis.XMessageSliceCmd, len(queries))
	for i, q := range queries {
		p := s.keys.partition(q.Target)
		q.Err, q.Got, q.Next, q.EventBytes, q.Page = nil, Edges{Empty: true}, Next{}, 0, Page{}
		if q.Edges {
			c := s.endsOf(p, q.Target, &q.After, 0)
			edges[i] = run(ctx, pipe, c.keys, c.args...)
		}
		if q.Limit > 0 && q.After != wire.MaxID {
			pages[i] = pipe.XRangeN(ctx, s.keys.history(p, q.Target), q.After.Next().String(), "+", int64(q.Limit))
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	all, err := exec(ctx, pipe)
	if err := firstFailure(all, err, isWrongType); err != nil {
		return err
	}
	for i, q := range queries {
		if edges[i] != nil {
			e, err := parseEnds(q.Target, edges[i], q.After)
			if err != nil {
				return err
			}
			q.Got, q.Next = e.Edges, e.next
			if e.bytes > 0 && e.entries > 0 {
				q.EventBytes = int(e.bytes / e.entries)
			}
		}
		if pages[i] != nil {
			if err := q.read(pages[i].Val()); err != nil {
				return err
			}
		}
	}
	return nil
}

// read takes the entries of the page.
func (q *Query) read(entries []redis.XMessage) error {
	last := q.After
	for _, m := range entries {
		e, err := historyEvent(q.Target, m, last)
		if err != nil {
			return err
		}
		last = e.ID
		q.Page.Events = append(q.Page.Events, e)
	}
	q.Page.More = len(q.Page.Events) == q.Limit
	return nil
}

// HistoryBack reads a history backwards: the events below an id (MaxID: all) and above another one, newest first, limit at most.
func (s *Store) HistoryBack(ctx context.Context, target string, below, above wire.ID, limit int) ([]wire.Event, error) {
	p := s.keys.partition(target)
	entries, err := s.rdb.XRevRangeN(ctx, s.keys.history(p, target), below.Previous().String(), above.Next().String(), int64(limit)).Result()
	switch {
	case isWrongType(err):
		return nil, nil // as an empty history
	case err != nil:
		return nil, fmt.Errorf("cannot read the history of %s: %w", target, err)
	}
	events := make([]wire.Event, len(entries))
	before := above // the event before this one, as far as it is known
	for i := len(entries) - 1; i >= 0; i-- {
		if events[i], err = historyEvent(target, entries[i], before); err != nil {
			return nil, err
		}
		before = events[i].ID
	}
	return events, nil
}

// HistoryTTLMs is the time to live of events, in ms.
func (s *Store) HistoryTTLMs() int64 { return s.cfg.HistoryTTL.Milliseconds() }
