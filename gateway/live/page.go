package live

import (
	"context"
	"errors"

	"sluice/gateway/history"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// PageRequest is what somebody wants to read of a target's history, who does not subscribe.
type PageRequest struct {
	Target   string
	Start    Start // any but Since
	Retained bool  // after a gap what is retained follows
	Events   int   // at most
	Bytes    int   // of their frames, at most; but one event always
}

// Page is a piece of a history, as a subscription that begins there would get it.
type Page struct {
	Frames   [][]byte // of the events
	Position wire.ID  // where the reader stands behind them
	Gap      *wire.Gap
	More     bool // there is more behind Position
}

// errChanging says that a history was another one with each read.
var errChanging = errors.New("the history changes while it is read")

// Page reads a piece of a history for a user.
func (f *Flow) Page(ctx context.Context, user string, w *PageRequest) (*Page, error) {
	ctx, cancel := context.WithTimeout(ctx, RedisTimeout)
	defer cancel()
	for range feedReads {
		r := pageReader{f: f, user: user, w: w, page: &Page{}}
		fits, err := r.read(ctx)
		if err != nil {
			return nil, err
		}
		if fits {
			r.page.Position = r.last
			f.o.Metrics.Deliveries.Add(float64(len(r.page.Frames)))
			return r.page, nil
		}
	}
	return nil, errChanging
}

// pageReader reads one page.
type pageReader struct {
	f    *Flow
	user string
	w    *PageRequest
	page *Page
	position
	newest wire.ID // of the history, as last read
	size   int     // of an event, in bytes; 0: not known
}

// read fills the page. false: the history has changed since its ends were read.
func (r *pageReader) read(ctx context.Context) (fits bool, err error) {
	if err := r.begin(ctx); err != nil {
		return false, err
	}
	left := portion{r.w.Events, r.w.Bytes}
	for r.last.Less(r.newest) && left.events > 0 && left.bytes > 0 {
		q := &history.Reading{Query: store.Query{Target: r.w.Target, After: r.last, Limit: left.limit(r.size), Edges: true}, Expect: r.size}
		if err := r.f.o.History.Read(ctx, r.user, q); err != nil {
			return false, err
		}
		r.newest = q.Got.Newest
		for i := range q.Records {
			one := &q.Records[i]
			if !r.follows(one) { // behind a hole the next page tells of it
				r.page.More = true
				return len(r.page.Frames) > 0, nil
			}
			if len(r.page.Frames) > 0 && len(one.Frame) > left.bytes {
				r.page.More = true
				return true, nil
			}
			r.take(one)
			left.events--
			left.bytes -= len(one.Frame)
		}
		if !q.Page.More {
			return true, nil
		}
	}
	r.page.More = r.last.Less(r.newest)
	return true, nil
}

func (r *pageReader) take(one *wire.Record) {
	frame := one.Frame
	if r.last.IsZero() && !one.Prev.IsZero() { // of an earlier history: this reader has nothing
		frame = wire.FromZero(frame, one.Prev)
	}
	r.page.Frames = append(r.page.Frames, frame)
	r.advance(one.ID)
}

// begin reads the ends of the history, and sets where the page begins.
func (r *pageReader) begin(ctx context.Context) error {
	start := r.w.Start
	q := &history.Reading{Query: store.Query{Target: r.w.Target, After: start.id, Edges: true}}
	if start.kind == startNow {
		q.After = wire.MaxID
	}
	now := r.f.clock()
	if err := r.f.o.History.Read(ctx, r.user, q); err != nil {
		return err
	}
	got := pieceOf(q)
	r.newest, r.size = got.edges.Newest, q.EventBytes
	switch {
	case start.kind == startNow:
		r.position = at(r.newest)
	case start.kind == startEarliest && got.first() != nil:
		r.position = at(got.first().Prev)
	case start.kind == startOwn:
		r.position = at(start.id)
		r.judge(got, now)
	}
	return nil
}

// judge looks for a gap behind the position that was asked for, and goes over it.
func (r *pageReader) judge(got *piece, now clock) {
	after := r.last
	reason := r.gap(got, known{since: unixMs(after)}, now)
	switch {
	case reason != "":
		oldest, to := got.behindGap(after, r.w.Retained)
		r.jump(to)
		r.page.Gap = &wire.Gap{To: r.w.Target, After: after, Oldest: oldest, Position: to, Reason: reason}
		r.f.o.Metrics.gap(reason)
	case r.leaps(got):
		r.jump(got.first().Prev)
	}
}
