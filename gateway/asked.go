package gateway

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/gateway/query"
	"sluice/shared/wire"
)

// want is a subscription that a connection asks for when it comes. An empty target stands
// for those that every connection has.
type want struct {
	target string
	start  live.Start
	bad    string // why the position cannot be used
}

// positions are the wants of a resume or a cursor, in a fixed order.
func positions(p map[string]string) []want {
	wants := make([]want, 0, len(p))
	for _, target := range slices.Sorted(maps.Keys(p)) {
		w := want{target: strings.Clone(target)}
		switch text := p[target]; text {
		case wire.Now:
		case wire.Earliest:
			w.start = live.Earliest()
		default:
			id, err := wire.ParseID(text)
			if err != nil {
				w.bad = err.Error()
			}
			w.start = live.After(id)
		}
		if err := wire.CheckTarget(target); err != nil {
			w.bad = err.Error()
		}
		wants = append(wants, w)
	}
	return wants
}

// asked is what a client asks for when it connects, by the request and by `connect`.
type asked struct {
	wants    []want
	mistakes []wire.Error
	came     time.Time // when its client did
	device   string    // "": no cursors are kept
	resume   bool      // from the device's cursors
	retained bool      // on_gap
	byTime   bool      // the client keeps a single id for all its targets
}

// granted adds what a function wants the connection to have, before what the client asks for, whose positions count more.
func (o *asked) granted(id auth.Identity) {
	if id.Granted == nil {
		return
	}
	var first []want
	for _, target := range id.Granted.Subscribe {
		first = append(first, want{target: target})
	}
	o.wants = append(first, o.wants...)
}

// ofDevice takes what the request says of the device, for clients that bring their token
// in it and send no `connect`.
func (o *asked) ofDevice(device, resume string) {
	switch {
	case device != "" && !wire.ValidName(device):
		o.refuse(wire.CodeBadRequest, wire.ErrDevice)
	case resume != "" && (resume != "device" || device == ""):
		o.refuse(wire.CodeBadRequest, `resume is "device", and needs device`)
	default:
		o.device, o.resume = device, resume != ""
	}
}

func (o *asked) refuse(code, message string) {
	o.mistakes = append(o.mistakes, wire.Error{Code: code, Message: message})
}

// request is what is kept of one until its client is known: text that nobody has looked
// into. listen.MaxHeader bounds it.
type request struct {
	query, lastEventID string
	came               time.Time
}

func requestOf(r *http.Request) request {
	return request{r.URL.RawQuery, r.Header.Get("Last-Event-ID"), time.Now()}
}

// clone is one that does not hold the memory of all that was sent.
func (r request) clone() *request {
	return &request{strings.Clone(r.query), strings.Clone(r.lastEventID), r.came}
}

func (r request) get(name string) string {
	value, _ := query.Get(r.query, name)
	return value
}

// wanted is what a request asks for: `topics`, of which no more than most are read,
// positions by `last_event_id` or Last-Event-ID, and `device`.
func (r request) wanted(most int) *asked {
	return r.wantedFrom(most, cmp.Or(r.get("last_event_id"), r.lastEventID))
}

// wantedFrom is wanted with positions by last event ids, of which the later ones count more.
func (r request) wantedFrom(most int, last ...string) *asked {
	o := &asked{came: r.came}
	var bare live.Start
	var told []want
	for _, text := range last {
		if text == "" {
			continue
		}
		from, err := wire.ParseLastEventID(text)
		if err != nil {
			o.refuse(wire.CodeBadRequest, err.Error())
		}
		if from.IsBare {
			o.byTime, bare = true, live.Since(from.Bare)
		}
		told = append(told, positions(from.Positions)...)
	}
	if o.byTime {
		o.wants = append(o.wants, want{target: "", start: bare}) // for user and all
	}
	switch onGap := r.get("on_gap"); onGap {
	case "", wire.OnGapLive, wire.OnGapRetained:
		o.retained = onGap == wire.OnGapRetained
	default:
		o.refuse(wire.CodeBadRequest, wire.ErrOnGap)
	}
	if topics := r.get("topics"); topics != "" {
		n := 0
		for name := range strings.SplitSeq(topics, ",") {
			if n++; n > most {
				o.refuse(wire.CodeTooMany, "more topics than a connection may have subscriptions; the rest is left out")
				break
			}
			o.wants = append(o.wants, want{target: wire.TopicTarget(name), start: bare})
		}
	}
	o.wants = append(o.wants, told...)
	o.ofDevice(r.get("device"), r.get("resume"))
	return o
}
