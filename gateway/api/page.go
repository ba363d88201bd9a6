package api

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"sluice/gateway/admit"
	"sluice/gateway/history"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	// What a page has: events by default and at most, and bytes, of which one event may be more.
	usualPage, largestPage = 100, 1000
	pageBytes              = 1 << 20
	// Of a history that is read backwards so many events are read at a time: at first, and when they are small.
	backPiece, largestPiece = 16, 64
	// longestWait is less than proxies wait for an answer.
	longestWait = 55 * time.Second
)

// pageWanted is what GET /v1/events asks for.
type pageWanted struct {
	live.PageRequest
	after   wire.ID
	asked   bool    // after is an id
	reverse bool    // newest first
	before  wire.ID // what of that comes first is below it
	wait    time.Duration
}

// parsePage reads the query of GET /v1/events.
func parsePage(q url.Values) (*pageWanted, *wire.FrameError) {
	w := &pageWanted{before: wire.MaxID}
	w.Target, w.Events, w.Bytes = q.Get("to"), usualPage, pageBytes
	if err := wire.CheckTarget(w.Target); err != nil {
		return nil, badQuery("to: " + err.Error())
	}
	var err error
	if n := q.Get("limit"); n != "" {
		if w.Events, err = strconv.Atoi(n); err != nil || w.Events < 1 || w.Events > largestPage {
			return nil, badQuery("limit is a number from 1 to 1000")
		}
	}
	if w.reverse, err = strconv.ParseBool(defaulted(q.Get("reverse"), "0")); err != nil {
		return nil, badQuery("reverse is 1 or 0")
	}
	switch after := q.Get("after"); after {
	case "":
	case wire.Earliest:
		w.Start = live.Earliest()
	default:
		if w.after, err = wire.ParseID(after); err != nil {
			return nil, badQuery("after: " + err.Error() + `, or "earliest"`)
		}
		w.Start, w.asked = live.After(w.after), true
	}
	if before := q.Get("before"); before != "" {
		if w.before, err = wire.ParseID(before); err != nil || !w.reverse {
			return nil, badQuery("before is the id of an event, with reverse=1")
		}
	}
	if wait := q.Get("wait"); wait != "" {
		if w.wait, err = parseFor(wait); err != nil || w.wait < 0 || w.wait > longestWait || w.reverse {
			return nil, badQuery("wait is a duration up to 55s, and not for reverse=1")
		}
	}
	switch onGap := q.Get("on_gap"); onGap {
	case "", wire.OnGapLive, wire.OnGapRetained:
		w.Retained = onGap == wire.OnGapRetained
	default:
		return nil, badQuery(wire.ErrOnGap)
	}
	return w, nil
}

func defaulted(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func badQuery(message string) *wire.FrameError {
	return &wire.FrameError{Code: wire.CodeBadRequest, Message: admit.Clip(message)}
}

// getEvents is GET /v1/events: a page of a history, or with `wait` what comes next, as soon as it is there.
func (h *API) getEvents(ctx context.Context, in *incoming) (any, error) {
	w, wrong := parsePage(in.URL.Query())
	if wrong != nil {
		return nil, wrong
	}
	if !in.id.CanSubscribe(w.Target) {
		return nil, admit.Forbidden("this token does not allow to subscribe to it")
	}
	if err := h.charge(in, cost{frames: admit.MoveCost}); err != nil {
		return nil, err
	}
	var page *live.Page
	var err error
	if w.reverse {
		page, err = h.pageBack(ctx, in, w)
	} else if page, err = h.pageOn(ctx, in, w); err == nil && w.wait > 0 && isEmpty(page) {
		page, err = h.await(ctx, in, w, page)
	}
	if err != nil {
		return nil, err
	}
	return renderPage(w.Target, page), nil
}

func isEmpty(p *live.Page) bool { return len(p.Frames) == 0 && p.Gap == nil && !p.More }

// pageOn reads a page of what follows.
func (h *API) pageOn(ctx context.Context, in *incoming, w *pageWanted) (*live.Page, error) {
	give, err := h.takeRoom(ctx, in.id.User, pageBytes)
	if err != nil {
		return nil, err
	}
	page, err := h.o.Flow.Page(ctx, in.id.User, &w.PageRequest)
	if err != nil || isEmpty(page) { // it may wait for long
		give()
		return page, err
	}
	in.done = append(in.done, give)
	return page, nil
}

// pageBack reads a page of what was before, newest first. Behind the oldest event stands whether something is missing there.
func (h *API) pageBack(ctx context.Context, in *incoming, w *pageWanted) (*live.Page, error) {
	give, err := h.takeRoom(ctx, in.id.User, pageBytes)
	if err != nil {
		return nil, err
	}
	in.done = append(in.done, give)
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	page := &live.Page{Position: w.after}
	bytes, n := 0, max(1, min(backPiece, pageBytes/h.o.MaxData))
	for below := w.before; ; {
		events, err := h.o.Store.HistoryBack(ctx, w.Target, below, w.after, n)
		if err != nil {
			return nil, err
		}
		for _, r := range history.Render(&store.Page{Events: events}) {
			if len(page.Frames) == w.Events || len(page.Frames) > 0 && bytes+len(r.Frame) > pageBytes {
				page.More = true
				return page, nil
			}
			page.Frames, page.Position = append(page.Frames, r.Frame), r.ID
			bytes += len(r.Frame)
			below = r.ID
		}
		if len(events) < n {
			break
		}
		if bytes/len(page.Frames)*2*n < pageBytes/4 {
			n = min(2*n, largestPiece)
		}
	}
	if !w.asked {
		return page, nil
	}
	ends, err := h.o.Flow.Page(ctx, in.id.User, &live.PageRequest{Target: w.Target, Start: w.Start, Retained: true})
	if err != nil {
		return nil, err
	}
	page.Gap = ends.Gap
	return page, nil
}

// renderPage is the answer.
func renderPage(target string, p *live.Page) json.RawMessage {
	size := 200 + len(target)
	for _, frame := range p.Frames {
		size += len(frame) + 1
	}
	b := append(make([]byte, 0, size), `{"to":"`...)
	b = append(append(b, target...), `","events":[`...) // targets have no character that JSON escapes
	for i, frame := range p.Frames {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, wire.Payload(frame)...)
	}
	b = append(p.Position.Append(append(b, `],"position":"`...)), `","gap":`...)
	gap, _ := json.Marshal(p.Gap) // of plain fields
	b = append(append(b, gap...), `,"more":`...)
	return append(strconv.AppendBool(b, p.More), "}\n"...)
}

// await waits for an event behind an empty page. It subscribes before it reads again, so nothing comes in between.
func (h *API) await(ctx context.Context, in *incoming, w *pageWanted, page *live.Page) (*live.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, h.patience(in, w.wait))
	defer cancel()
	x := newWaiter(ctx, h, in, w.Target)
	defer x.end()
	if err := x.subscribe(); err != nil {
		if ctx.Err() != nil { // the time is over
			return page, nil
		}
		return nil, err
	}
	renew := time.NewTicker(h.o.PingInterval)
	defer renew.Stop()
	next := *w
	next.Start = live.After(page.Position)
	for {
		again, err := h.pageOn(ctx, in, &next)
		switch {
		case err != nil && ctx.Err() == nil:
			return nil, err
		case err != nil: // the time is over
			return page, x.over()
		case !isEmpty(again):
			return again, nil
		}
		if over, err := x.sleep(renew.C); over {
			return page, err
		}
	}
}

// patience is how long a request may wait: no longer than its token lives.
func (h *API) patience(in *incoming, wait time.Duration) time.Duration {
	if end := h.o.Local(in.id.Expires); !end.IsZero() {
		wait = min(wait, max(0, time.Until(end)))
	}
	return wait
}
