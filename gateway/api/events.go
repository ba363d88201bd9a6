package api

import (
	"context"
	"encoding/json"
	"mime"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/gateway/admit"
	"sluice/shared/wire"
)

// publishTimeout is how long a request waits for its events to be appended.
const publishTimeout = 10 * time.Second

// notKnown is what a request is told of an event that may be appended or not.
const notKnown = "it is not known whether the event was appended; send it again with the same id"

// posting gathers the answers to the events of a request. A ref is an event's number.
type posting struct {
	api *API

	mu      sync.Mutex
	answers []posted
	left    int           // without an answer
	done    chan struct{} // closed when none is left
}

// posted is the answer to one event.
type posted struct {
	known     bool
	id        wire.ID
	duplicate bool
	refused   *wire.FrameError // in place of these
}

func (h *API) newPosting(events int) *posting {
	p := &posting{api: h, answers: make([]posted, events), left: events, done: make(chan struct{})}
	if events == 0 {
		close(p.done)
	}
	return p
}

func (p *posting) Published(a wire.Published) {
	p.set(a.Ref, posted{known: true, id: a.ID, duplicate: a.Duplicate})
}

func (p *posting) Fail(ref string, err error) {
	p.set(ref, posted{known: true, refused: admit.ForClients(p.api.o.Log, err, "path", "/v1/events")})
}

// set takes an event's answer; the first one counts.
func (p *posting) set(ref string, a posted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := strconv.Atoi(ref)
	if err != nil || n < 0 || n >= len(p.answers) || p.answers[n].known {
		return
	}
	p.answers[n] = a
	if p.left--; p.left == 0 {
		close(p.done)
	}
}

// all are the answers as far as they have come. What comes later is dropped: they are being told.
func (p *posting) all() []posted {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.answers {
		if !p.answers[i].known {
			p.answers[i].known, p.answers[i].refused = true, &wire.FrameError{Code: wire.CodeUnavailable, Message: notKnown}
		}
	}
	return p.answers
}

// postEvents is POST /v1/events. It is answered when the workers have appended the events.
func (h *API) postEvents(ctx context.Context, in *incoming) (any, error) {
	key, err := idempotencyKey(in.Header.Values("Idempotency-Key"))
	if err != nil {
		return nil, err
	}
	form, _, _ := mime.ParseMediaType(in.Header.Get("Content-Type")) // what is none of ours is read as JSON
	posts, single, wrong := wire.ParsePosts(form, in.body, key)
	if wrong != nil {
		return nil, wrong
	}
	c := cost{frames: float64(len(posts)), publishes: float64(len(posts)), bytes: float64(len(in.body))}
	data := 0.0
	for i := range posts {
		data += float64(len(posts[i].Data)) // of a list of targets each has it
	}
	c.bytes = max(c.bytes, data)
	if err := h.charge(in, c); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	p := h.newPosting(len(posts))
	by, leave := h.postings.Add(p)
	defer leave()
	h.o.Publisher.AddInTurn(ctx, p, by, in.id, posts)
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	return h.tellPosted(posts, p.all(), single)
}

// tellPosted is the answer to a request: about one event, or a list. It is an error if nothing is known of any event.
func (h *API) tellPosted(posts []wire.Post, answers []posted, single bool) (any, error) {
	later := 0
	for _, a := range answers {
		if a.refused != nil && a.refused.Code == wire.CodeUnavailable {
			later++
		}
	}
	switch {
	case single && answers[0].refused != nil:
		return nil, answers[0].refused
	case single:
		return json.RawMessage(append(answers[0].appendTo(nil, posts[0].To), '\n')), nil
	case later > 0 && later == len(answers):
		return nil, answers[0].refused
	}
	b := append(make([]byte, 0, 20+100*len(answers)), `{"events":[`...)
	for i, a := range answers {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.appendTo(b, posts[i].To)
		if a.refused != nil {
			h.o.Metrics.Errors.WithLabelValues(a.refused.Code).Inc()
		}
	}
	return json.RawMessage(append(b, "]}\n"...)), nil
}

// appendTo writes the answer to an event for a target, which needs no quotes; "": it could not be read.
func (a *posted) appendTo(b []byte, to string) []byte {
	b = append(b, '{')
	if to != "" {
		b = append(append(append(b, `"to":"`...), to...), `",`...)
	}
	if r := a.refused; r != nil {
		text, _ := json.Marshal(errorBody{r.Code, r.Message}) // of strings
		return append(append(append(b, `"error":`...), text...), '}')
	}
	b = a.id.Append(append(b, `"id":"`...))
	return append(strconv.AppendBool(append(b, `","duplicate":`...), a.duplicate), '}')
}

// idempotencyKey is that of the header, "" for none. It may stand in quotes, as a string of structured fields does (RFC 9651).
func idempotencyKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	key := strings.TrimSpace(values[0])
	if n := len(key); n >= 2 && key[0] == '"' && key[n-1] == '"' {
		key = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(key[1 : n-1])
	}
	if key == "" || len(values) > 1 {
		return "", &wire.FrameError{Code: wire.CodeBadRequest, Message: "Idempotency-Key is one value, and not empty"}
	}
	return key, nil
}
