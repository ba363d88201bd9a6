// Package api answers the requests over HTTP that are answered with JSON: for backends, and for clients without a connection.
//
//	api.go      checks, answers and refusals
//	body.go     what comes with a request, and room for it
//	events.go   what requests publish
//	page.go     what they read of histories
//	waiter.go   those that wait for an event
//	acks.go     what they acknowledge, and the end of a subscription
//	calls.go    what they ask functions
//	tickets.go  what stands for a token once
//	users.go    a user's connections, listed and ended
package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/acks"
	"sluice/gateway/admit"
	"sluice/gateway/answers"
	"sluice/gateway/auth"
	"sluice/gateway/calls"
	"sluice/gateway/history"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/gateway/live"
	"sluice/gateway/publish"
	"sluice/gateway/sessions"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	smallBody  = 64 << 10  // bytes of a request that has little to say
	acksBody   = 512 << 10 // of one with wire.MaxAcks
	corsMaxAge = time.Hour // for which browsers may keep what a preflight said
)

// Options are what an API is made of.
type Options struct {
	MaxData       int           // bytes of an event
	MaxExtra      int           // how much longer a message may be than the data in it
	PingInterval  time.Duration // after which sessions are renewed
	AnswerTimeout time.Duration // for which an answer may take to be sent
	Limits        limits.Config

	Store     *store.Store
	Verifier  *auth.Verifier
	Admission *admit.Admission
	Users     *limits.Parties
	Flow      *live.Flow
	History   *history.Reader
	Sessions  *sessions.Sessions
	Publisher *publish.Publisher
	Acks      *acks.Acks
	Calls     *calls.Calls

	Local   func(time.Time) time.Time // a time of Redis's clock by this process's; zero stays zero
	Running *sync.WaitGroup           // requests that are under way
	Metrics *Metrics
	Log     *slog.Logger
}

// Metrics are counted by an API.
type Metrics struct {
	Errors  *prometheus.CounterVec // that were told, by code
	Limited *prometheus.CounterVec // what was refused, by limit
	Kicked  prometheus.Counter     // requests that waited
	Acks    *acks.Metrics
}

// API answers requests.
type API struct {
	o        Options
	bodies   *limits.Semaphore // of requests, in bytes, by user
	tickets  tickets
	waiters  waiters
	postings answers.Addresses[*posting]
}

// New makes an API.
func New(o Options) *API {
	return &API{o: o, bodies: limits.NewSemaphore(limits.Bounds{
		Size: bodyBytes, KeySize: userBodies, Waiting: waitingBodies, KeyWaiting: waitingOfAUser,
	})}
}

// Register adds all requests that are answered.
func (h *API) Register(mux *http.ServeMux) {
	for _, r := range h.routes() {
		mux.HandleFunc(r.pattern, h.door(r))
	}
}

// End lets all requests that wait be answered, and those that come: the gateway ends.
func (h *API) End() { h.waiters.end() }

// About is what is kept in Redis of a request that waits for events of its user, for who lists that user's connections; "": there
// is none.
func (h *API) About(id string) string { return h.waiters.about(id) }

// Asker is the request that publishes and has this address; nil: there is none.
func (h *API) Asker(at string) publish.Asker {
	if p, ok := h.postings.Get(at); ok {
		return p
	}
	return nil
}

// endpoint answers a request whose bearer is known with what becomes JSON, or with an error: a *wire.FrameError is told
// as it is, anything else becomes `unavailable`.
type endpoint func(ctx context.Context, in *incoming) (any, error)

// incoming is a request whose bearer is known.
type incoming struct {
	*http.Request
	id      auth.Identity
	account *limits.Party
	body    []byte
	done    []func() // when it is answered
}

// end gives back what the request has taken.
func (in *incoming) end() {
	for _, f := range in.done {
		f()
	}
}

// route is where an endpoint is.
type route struct {
	pattern string // of http.ServeMux
	do      endpoint
	maxBody int // bytes of the body
	// open: also for those whom a kick keeps out.
	open bool
}

// routes are all requests that are answered with JSON.
func (h *API) routes() []route {
	return []route{
		{"POST /v1/events", h.postEvents, max(4<<20, 2*h.o.MaxData+h.o.MaxExtra), false},
		{"GET /v1/events", h.getEvents, smallBody, false},
		{"POST /v1/acks", h.postAcks, acksBody, false},
		{"POST /v1/unsubscribe", h.postUnsubscribe, smallBody, false},
		{"POST /v1/calls", h.postCall, h.o.MaxData + h.o.MaxExtra, false},
		{"POST /v1/tickets", h.giveTicket, smallBody, true},
		{"GET /v1/users/{id}", h.listUser, smallBody, true},
		{"DELETE /v1/users/{id}/connections", h.endUser, smallBody, true},
		{"/v1/", nil, 0, true},                                        // preflights, too
		{"HEAD /v1/sse", nil, 0, true}, {"HEAD /v1/ws", nil, 0, true}, // else they would be as with GET, which opens a connection
	}
}

// door is that of one endpoint: what is checked before it, and how answers and refusals look. Without an endpoint there is
// nothing.
func (h *API) door(to route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.o.Running.Add(1)
		defer h.o.Running.Done()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Add("Vary", "Origin")
		allowed := h.o.Verifier.OriginAllowed(r)
		if allowed {
			AllowOrigin(w, r)
		}
		if wait := h.o.Admission.StrangerWaits(r); wait > 0 {
			w.Header().Set("Connection", "close") // else the next requests are there already
			h.AnswerError(w, admit.ForClients(h.o.Log, admit.TooFast(wait)))
			return
		}
		if !allowed {
			h.o.Admission.CountStranger(r)
			h.o.Admission.CountRequest(r, admit.RefusedPage)
			h.AnswerError(w, admit.RefusedPage.FrameError())
			return
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		in := &incoming{Request: r}
		defer in.end()
		answer, err := h.serveEndpoint(w, in, to)
		// From now on: an endpoint may have waited for long.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.o.AnswerTimeout))
		if err != nil {
			h.AnswerError(w, admit.ForClients(h.o.Log, err, "path", r.Pattern))
			return
		}
		answerJSON(w, http.StatusOK, answer)
	}
}

// AllowOrigin lets the page that asks read the answer, errors too, and send a token (Fetch standard, 3.3).
func AllowOrigin(w http.ResponseWriter, r *http.Request) {
	h, origin := w.Header(), r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key")
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(corsMaxAge.Seconds())))
	}
}

func (h *API) serveEndpoint(w http.ResponseWriter, in *incoming, to route) (any, error) {
	if to.do == nil {
		return nil, &wire.FrameError{Code: wire.CodeNotFound, Message: "there is nothing at this path for this method"}
	}
	if refused := h.admitRequest(in); refused != nil {
		h.o.Admission.CountRequest(in.Request, refused)
		return nil, refused.FrameError()
	}
	if err := h.charge(in, cost{frames: admit.PlainCost}); err != nil {
		return nil, err
	}
	if !to.open {
		if err := h.mayCome(in); err != nil {
			return nil, err
		}
	}
	if err := h.readBody(w, in, to.maxBody); err != nil {
		return nil, err
	}
	return to.do(in.Context(), in)
}

// admitRequest finds out whose request it is. While it is under way it is one of its user's connections.
func (h *API) admitRequest(in *incoming) *admit.Refusal {
	token, found := auth.Bearer(in.Request)
	if !found {
		return admit.RefusedNoBearer
	}
	var refused *admit.Refusal
	if in.id, refused = h.o.Admission.Identify(in.Context(), token, admit.StrangerOf(in.Request, wire.TransportHTTP)); refused != nil {
		h.o.Admission.CountStranger(in.Request)
		return refused
	}
	listen.Of(in.Request).Known()
	account, ok := h.o.Users.Enter(in.id.User, h.o.Limits.UserConnections)
	if !ok {
		return admit.RefusedConnections
	}
	in.account = account
	in.done = append(in.done, func() { h.o.Users.Leave(account) })
	return nil
}

// mayCome refuses those whom a kick keeps out.
func (h *API) mayCome(in *incoming) error {
	ctx, cancel := context.WithTimeout(in.Context(), live.RedisTimeout)
	defer cancel()
	reason, barred, err := h.o.Store.Barred(ctx, in.id.User)
	switch {
	case err != nil: // Redis is away, which the log says once and not for each request
		h.o.Log.Debug("could not ask whether a user is kept out; the request is refused", "err", err)
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain}
	case !barred:
		return nil
	}
	out := (&admit.KeptOut{Reason: reason}).Refusal()
	h.o.Admission.CountRequest(in.Request, out)
	return out.FrameError()
}

// cost is what a request takes from the limits of its user.
type cost struct{ frames, publishes, bytes float64 }

// charge takes it, or refuses: then nothing is done, and what the other buckets gave is gone.
func (h *API) charge(in *incoming, c cost) error {
	now, l, a := h.o.Users.Now(), &h.o.Limits, in.account
	for _, one := range []struct {
		limit  string
		bucket *limits.Bucket
		rate   limits.Rate
		units  float64
	}{
		{admit.LimitUserFrames, &a.Frames, l.UserFrameRate, c.frames},
		{admit.LimitUserBytes, &a.Bytes, l.UserByteRate, c.bytes},
		{admit.LimitUserPublishes, &a.Publishes, l.UserPublishRate, c.publishes},
	} {
		if one.units == 0 {
			continue
		}
		if wait := one.bucket.Take(now, one.rate, one.units); wait > 0 {
			h.o.Metrics.Limited.WithLabelValues(one.limit).Inc()
			return admit.TooFast(wait)
		}
	}
	return nil
}

// statuses are the HTTP statuses of error codes.
var statuses = map[string]int{
	wire.CodeBadRequest:   http.StatusBadRequest,
	wire.CodeUnauthorized: http.StatusUnauthorized,
	wire.CodeForbidden:    http.StatusForbidden,
	wire.CodeNotFound:     http.StatusNotFound,
	wire.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	wire.CodeTooMany:      http.StatusTooManyRequests,
	wire.CodeRateLimited:  http.StatusTooManyRequests,
	wire.CodeUnavailable:  http.StatusServiceUnavailable,
}

// AnswerError tells an error: {"error":{"code","message"}}.
func (h *API) AnswerError(w http.ResponseWriter, e *wire.FrameError) {
	h.o.Metrics.Errors.WithLabelValues(e.Code).Inc()
	status, known := statuses[e.Code]
	if !known { // of a worker that is newer
		status = http.StatusInternalServerError
	}
	switch e {
	case calls.ErrLate:
		status = http.StatusGatewayTimeout
	case calls.ErrFailed:
		status = http.StatusBadGateway
	}
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 6750, section 3
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(e.RetryAfter.Seconds())))))
	}
	answerJSON(w, status, map[string]errorBody{"error": {e.Code, e.Message}})
}

// errorBody is how an error is told.
type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func answerJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if text, ok := answer.(json.RawMessage); ok {
		_, _ = w.Write(text) // a client that has gone hears nothing
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}
