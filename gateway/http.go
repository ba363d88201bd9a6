package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"sluice/gateway/admit"
	"sluice/gateway/auth"
	"sluice/gateway/calls"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

const (
	smallBody   = 64 << 10         // bytes of a request that has little to say
	acksBody    = 512 << 10        // of one with wire.MaxAcks
	bodyTimeout = 10 * time.Second // for a request's body to come
	corsMaxAge  = time.Hour        // for which browsers may keep what a preflight said

	// bodyBytes are those of all bodies that are read or worked on at a time, userBodies those of one user: who wants more waits
	// its turn, and so many may wait.
	bodyBytes, userBodies         = 64 << 20, 8 << 20
	waitingBodies, waitingOfAUser = 4096, 64
)

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
func (g *Gateway) routes() []route {
	return []route{
		{"POST /v1/events", g.postEvents, max(4<<20, 2*g.cfg.Store.MaxData+maxMessage), false},
		{"GET /v1/events", g.getEvents, smallBody, false},
		{"POST /v1/acks", g.postAcks, acksBody, false},
		{"POST /v1/unsubscribe", g.postUnsubscribe, smallBody, false},
		{"POST /v1/calls", g.postCall, g.cfg.Store.MaxData + maxMessage, false},
		{"POST /v1/tickets", g.giveTicket, smallBody, true},
		{"GET /v1/users/{id}", g.listUser, smallBody, true},
		{"DELETE /v1/users/{id}/connections", g.endUser, smallBody, true},
		{"/v1/", nil, 0, true}, // preflights, too
	}
}

// door is that of one endpoint: what is checked before it, and how answers and refusals look. Without an endpoint there is
// nothing.
func (g *Gateway) door(to route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.wg.Add(1)
		defer g.wg.Done()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Add("Vary", "Origin")
		allowed := g.verifier.OriginAllowed(r)
		if allowed {
			allowOrigin(w, r)
		}
		if wait := g.admission.StrangerWaits(r); wait > 0 {
			w.Header().Set("Connection", "close") // else the next requests are there already
			g.answerError(w, g.forClients(admit.TooFast(wait)))
			return
		}
		if !allowed {
			g.admission.CountStranger(r)
			g.admission.CountRequest(r, admit.RefusedPage)
			g.answerError(w, admit.RefusedPage.FrameError())
			return
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		in := &incoming{Request: r}
		defer in.end()
		answer, err := g.serveEndpoint(w, in, to)
		// From now on: an endpoint may have waited for long.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(g.cfg.Listen.AnswerTimeout()))
		if err != nil {
			g.answerError(w, g.forClients(err, "path", r.Pattern))
			return
		}
		answerJSON(w, http.StatusOK, answer)
	}
}

// allowOrigin lets the page that asks read the answer, errors too, and send a token (Fetch standard, 3.3).
func allowOrigin(w http.ResponseWriter, r *http.Request) {
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

func (g *Gateway) serveEndpoint(w http.ResponseWriter, in *incoming, to route) (any, error) {
	if to.do == nil {
		return nil, &wire.FrameError{Code: wire.CodeNotFound, Message: "there is nothing at this path for this method"}
	}
	if refused := g.admitRequest(in); refused != nil {
		g.admission.CountRequest(in.Request, refused)
		return nil, refused.FrameError()
	}
	if err := g.charge(in, cost{frames: admit.PlainCost}); err != nil {
		return nil, err
	}
	if !to.open {
		if err := g.mayCome(in); err != nil {
			return nil, err
		}
	}
	if err := g.readBody(w, in, to.maxBody); err != nil {
		return nil, err
	}
	return to.do(in.Context(), in)
}

// admitRequest finds out whose request it is. While it is under way it is one of its user's connections.
func (g *Gateway) admitRequest(in *incoming) *admit.Refusal {
	token, found := auth.Bearer(in.Request)
	if !found {
		return admit.RefusedNoBearer
	}
	var refused *admit.Refusal
	if in.id, refused = g.admission.Identify(in.Context(), token, admit.StrangerOf(in.Request, wire.TransportHTTP)); refused != nil {
		g.admission.CountStranger(in.Request)
		return refused
	}
	listen.Of(in.Request).Known()
	account, ok := g.users.Enter(in.id.User, g.limits.UserConnections)
	if !ok {
		return admit.RefusedConnections
	}
	in.account = account
	in.done = append(in.done, func() { g.users.Leave(account) })
	return nil
}

// mayCome refuses those whom a kick keeps out.
func (g *Gateway) mayCome(in *incoming) error {
	ctx, cancel := context.WithTimeout(in.Context(), live.RedisTimeout)
	defer cancel()
	reason, barred, err := g.store.Barred(ctx, in.id.User)
	switch {
	case err != nil: // Redis is away, which the log says once and not for each request
		g.log.Debug("could not ask whether a user is kept out; the request is refused", "err", err)
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain}
	case !barred:
		return nil
	}
	out := (&admit.KeptOut{Reason: reason}).Refusal()
	g.admission.CountRequest(in.Request, out)
	return out.FrameError()
}

// cost is what a request takes from the limits of its user.
type cost struct{ frames, publishes, bytes float64 }

// charge takes it, or refuses: then nothing is done, and what the other buckets gave is gone.
func (g *Gateway) charge(in *incoming, c cost) error {
	now, l, a := g.users.Now(), &g.limits, in.account
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
			g.metrics.limited.WithLabelValues(one.limit).Inc()
			return admit.TooFast(wait)
		}
	}
	return nil
}

// takeRoom takes some of the budget for bodies of requests and large answers; give must be called when they are no more.
func (g *Gateway) takeRoom(ctx context.Context, user string, bytes int64) (give func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	if err := g.bodies.Acquire(ctx, user, bytes); err != nil {
		g.metrics.limited.WithLabelValues(limitBodies).Inc()
		return nil, &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many large requests at a time; try again"}
	}
	return func() { g.bodies.Release(user, bytes) }, nil
}

// readBody reads what comes with a request, within its bounds.
func (g *Gateway) readBody(w http.ResponseWriter, in *incoming, most int) (err error) {
	weight := int64(most)
	if in.ContentLength >= 0 {
		weight = min(weight, in.ContentLength)
	}
	link := http.NewResponseController(w)
	if weight > 0 {
		give, err := g.takeRoom(in.Context(), in.id.User, weight)
		if err != nil {
			return err
		}
		in.done = append(in.done, give)
	}
	_ = link.SetReadDeadline(time.Now().Add(bodyTimeout)) // a connection that refuses it is closed
	in.body, err = readAll(http.MaxBytesReader(w, in.Body, int64(most)), int(weight))
	_ = link.SetReadDeadline(time.Time{})
	if err == nil {
		return nil
	}
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return &wire.FrameError{Code: wire.CodeTooLarge, Message: "the body is larger than " + strconv.Itoa(most) + " bytes"}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "the body did not come within " + bodyTimeout.String()}
	}
	return &wire.FrameError{Code: wire.CodeBadRequest, Message: "the body cannot be read"}
}

// readAll reads to the end what is said to have so many bytes. It makes room for all of them when the first ones have come.
func readAll(r io.Reader, size int) ([]byte, error) {
	var b bytes.Buffer
	first := min(size, smallBody)
	b.Grow(first + bytes.MinRead)
	_, err := b.ReadFrom(io.LimitReader(r, int64(first)))
	if err == nil && b.Len() == first {
		b.Grow(size - first + bytes.MinRead)
		_, err = b.ReadFrom(r)
	}
	return b.Bytes(), err
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

// answerError tells an error: {"error":{"code","message"}}.
func (g *Gateway) answerError(w http.ResponseWriter, e *wire.FrameError) {
	g.metrics.errors.WithLabelValues(e.Code).Inc()
	status := statuses[e.Code]
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

// forClients is what a client may know of an error; what it may not is logged, with where it happened.
func (g *Gateway) forClients(err error, where ...any) *wire.FrameError {
	var fe *wire.FrameError
	if !errors.As(err, &fe) {
		g.log.Warn("could not do what a client asked for; it gets the error `unavailable`", append(where, "err", err)...)
		fe = &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain}
	}
	return fe
}
