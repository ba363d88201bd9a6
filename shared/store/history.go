package store

import (
	"context"
	"fmt"

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
	fieldFirst  = "first" // "1": the first entry of a history that begins anew
)

func historyFields(w *words, e *wire.Event) {
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
	if e.Prev, err = wire.ParseID(text(fieldPrev)); err != nil || !e.Prev.Less(e.ID) {
		e.Prev = prev
	}
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

// Edges are the ends of a history.
type Edges struct {
	Oldest, OldestPrev wire.ID // zero when it is empty
	Newest             wire.ID
	Empty              bool
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
	Edges  bool // ask for the edges
	Newest bool // ask for the newest id only: of the edges, that and Empty
	Limit  int  // events at most, 0: none wanted

	Got  Edges // results
	Page Page
}

// History reads pieces of histories, in one round trip. In each query the edges
// are read before the page, so an id that was ever given to a client and is above
// Newest is none that this history knows. A key that holds no stream is an empty
// history.
func (s *Store) History(ctx context.Context, queries ...*Query) error {
	pipe := s.rdb.Pipeline()
	type cmds struct{ first, last, page *redis.XMessageSliceCmd }
	sent := make([]cmds, len(queries))
	for i, q := range queries {
		q.Got, q.Page = Edges{Empty: true}, Page{}
		key := s.keys.history(s.keys.partition(q.Target), q.Target)
		if q.Edges {
			sent[i].first = pipe.XRangeN(ctx, key, "-", "+", 1)
		}
		if q.Edges || q.Newest {
			sent[i].last = pipe.XRevRangeN(ctx, key, "+", "-", 1)
		}
		if q.Limit > 0 && q.After != wire.MaxID {
			sent[i].page = pipe.XRangeN(ctx, key, q.After.Next().String(), "+", int64(q.Limit))
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	all, err := exec(ctx, pipe)
	if err := firstFailure(all, err, isWrongType); err != nil {
		return fmt.Errorf("cannot read histories: %w", err)
	}
	for i, q := range queries {
		if q.Newest && len(sent[i].last.Val()) > 0 {
			newest, err := parseRedisID(sent[i].last.Val()[0].ID)
			if err != nil {
				return fmt.Errorf("history of %s, newest entry: %w", q.Target, err)
			}
			q.Got = Edges{Newest: newest}
		}
		if q.Edges && len(sent[i].first.Val()) > 0 && len(sent[i].last.Val()) > 0 {
			first, err := oldestEvent(q.Target, sent[i].first.Val()[0])
			if err != nil {
				return err
			}
			newest, err := parseRedisID(sent[i].last.Val()[0].ID)
			if err != nil {
				return fmt.Errorf("history of %s, newest entry: %w", q.Target, err)
			}
			q.Got = Edges{Oldest: first.ID, OldestPrev: first.Prev, Newest: newest}
		}
		if sent[i].page == nil {
			continue
		}
		last := q.After
		for _, m := range sent[i].page.Val() {
			e, err := historyEvent(q.Target, m, last)
			if err != nil {
				return err
			}
			last = e.ID
			q.Page.Events = append(q.Page.Events, e)
		}
		q.Page.More = len(q.Page.Events) == q.Limit
	}
	return nil
}

// HistoryTTLMs is the time to live of events, in ms.
func (s *Store) HistoryTTLMs() int64 { return s.cfg.HistoryTTL.Milliseconds() }
