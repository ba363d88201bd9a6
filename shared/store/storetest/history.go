package storetest

import (
	"testing"

	"sluice/shared/store"
	"sluice/shared/wire"
)

func (x *suite) history(t *testing.T) {
	ctx := t.Context()
	s := x.open(t, func(c *store.Config) { c.HistorySize = 5 })
	to, trimmed, nobody := targetIn(0, 0), targetIn(0, 1), targetIn(1, 0)
	a := x.own(t, s, "a", 0)
	a.next()
	a.append(to, wire.ID{}, id(1, 0), id(2, 0), id(3, 0))
	a.append(trimmed, wire.ID{}, id(1, 1), id(2, 1), id(3, 1), id(4, 1), id(5, 1), id(6, 1), id(7, 1))
	ids := func(q *store.Query) []wire.ID {
		out := []wire.ID{}
		for _, e := range q.Page.Events {
			want(t, "target", e.To, q.Target)
			out = append(out, e.ID)
		}
		return out
	}
	for _, c := range []struct {
		name string
		q    store.Query
		ids  []wire.ID
		more bool
		got  store.Edges
	}{
		{"all", store.Query{Target: to, Limit: 10, Edges: true}, []wire.ID{id(1, 0), id(2, 0), id(3, 0)}, false,
			store.Edges{Oldest: id(1, 0), Newest: id(3, 0)}},
		{"after the first", store.Query{Target: to, After: id(1, 0), Limit: 10}, []wire.ID{id(2, 0), id(3, 0)}, false, store.Edges{Empty: true}},
		{"after what never was", store.Query{Target: to, After: id(2, 7), Limit: 10}, []wire.ID{id(3, 0)}, false, store.Edges{Empty: true}},
		{"after the last", store.Query{Target: to, After: id(3, 0), Limit: 10}, []wire.ID{}, false, store.Edges{Empty: true}},
		{"after the highest id", store.Query{Target: to, After: wire.MaxID, Limit: 10}, []wire.ID{}, false, store.Edges{Empty: true}},
		{"a page", store.Query{Target: to, Limit: 2}, []wire.ID{id(1, 0), id(2, 0)}, true, store.Edges{Empty: true}},
		{"a page that ends with the history", store.Query{Target: to, Limit: 3}, []wire.ID{id(1, 0), id(2, 0), id(3, 0)}, true, store.Edges{Empty: true}},
		{"edges only", store.Query{Target: trimmed, Edges: true}, []wire.ID{}, false,
			store.Edges{Oldest: id(3, 1), OldestPrev: id(2, 1), Newest: id(7, 1)}},
		{"edges of nothing", store.Query{Target: nobody, Edges: true}, []wire.ID{}, false, store.Edges{Empty: true}},
		{"nothing there", store.Query{Target: nobody, Limit: 10, Edges: true}, []wire.ID{}, false, store.Edges{Empty: true}},
	} {
		// What a query held before does not matter.
		c.q.Got, c.q.Page = store.Edges{Newest: id(9, 9)}, store.Page{More: true, Events: []wire.Event{{}}}
		must(t, s.History(ctx, &c.q))
		want(t, c.name+": ids", ids(&c.q), c.ids)
		want(t, c.name+": More", c.q.Page.More, c.more)
		want(t, c.name+": edges", c.q.Got, c.got)
	}
	first, second := &store.Query{Target: to, Limit: 1}, &store.Query{Target: nobody, Limit: 1, Edges: true}
	must(t, s.History(ctx, first, second, &store.Query{Target: to}))
	want(t, "first of several", ids(first), []wire.ID{id(1, 0)})
	want(t, "second of several", second.Got.Empty, true)
	must(t, s.History(ctx))
	must(t, s.History(ctx, &store.Query{Target: to}))
}

// odd keys: what somebody did to one history does not stop the readers of others.
func (x *suite) historyOdd(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to, foreign, odd := targetIn(0, 0), targetIn(0, 1), targetIn(0, 2)
	a.append(to, wire.ID{}, id(1, 0))
	must(t, x.Client.Set(ctx, Key(0, "history:"+odd), "no stream", 0).Err())
	by := func(as string, fields ...any) {
		t.Helper()
		must(t, x.Client.Do(ctx, append([]any{"XADD", Key(0, "history:"+foreign), as}, fields...)...).Err())
	}
	by("5-0", "by", "hand")
	by("6-0", "prev", "nonsense", "data", "x")
	a.append(foreign, id(6, 0), id(7, 0))
	by("8-0", "prev", "9-0", "data", "later than itself")

	queries := []*store.Query{
		{Target: odd, Limit: 10, Edges: true}, {Target: foreign, Limit: 10, Edges: true},
		{Target: foreign, After: id(5, 0), Limit: 10}, {Target: to, Limit: 10, Edges: true},
	}
	must(t, s.History(ctx, queries...))
	want(t, "no stream is empty", queries[0].Got, store.Edges{Empty: true})
	want(t, "edges without a prev", queries[1].Got, store.Edges{Oldest: id(5, 0), OldestPrev: id(5, 0), Newest: id(8, 0)})
	for _, q := range queries[1:3] {
		prev := q.After
		for _, e := range q.Page.Events {
			want(t, "prev in an unbroken chain", e.Prev, prev)
			prev = e.ID
		}
		want(t, "last", prev, id(8, 0))
	}
	want(t, "another target", len(queries[3].Page.Events), 1)
}
