package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/listen"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

const (
	maxBody     = 64 << 10         // bytes of a request
	bodyTimeout = 10 * time.Second // for a request's body to come
	corsMaxAge  = time.Hour        // for which browsers may keep what a preflight said
)

// endpoint answers a request whose bearer is known with what becomes JSON, or with an error: a *wire.FrameError is told
// as it is, anything else becomes `unavailable`.
type endpoint func(ctx context.Context, id auth.Identity, r *http.Request) (any, error)

// door is that of one endpoint: what is checked before it, and how answers and refusals look. nil: there is no
// endpoint.
func (g *Gateway) door(do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.wg.Add(1)
		defer g.wg.Done()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Add("Vary", "Origin")
		if !g.verifier.OriginAllowed(r) {
			g.refused(r, refusedPage)
			g.answerError(w, refusedPage.frameError())
			return
		}
		allowOrigin(w, r)
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		answer, err := g.serveEndpoint(w, r, do)
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
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(corsMaxAge.Seconds())))
	}
}

func (g *Gateway) serveEndpoint(w http.ResponseWriter, r *http.Request, do endpoint) (any, error) {
	if do == nil {
		return nil, &wire.FrameError{Code: wire.CodeNotFound, Message: "there is nothing at this path for this method"}
	}
	token, found := auth.Bearer(r)
	if !found {
		g.refused(r, refusedNoBearer)
		return nil, refusedNoBearer.frameError()
	}
	id, refused := g.identify(r.Context(), token)
	if refused != nil {
		g.refused(r, refused)
		return nil, refused.frameError()
	}
	listen.Of(r).Known()
	if err := readBody(w, r); err != nil {
		return nil, err
	}
	return do(r.Context(), id, r)
}

// readBody reads what comes with a request, within its bounds. No endpoint wants it yet.
func readBody(w http.ResponseWriter, r *http.Request) error {
	link := http.NewResponseController(w)
	_ = link.SetReadDeadline(time.Now().Add(bodyTimeout)) // a connection that refuses it is closed
	_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody))
	_ = link.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return &wire.FrameError{Code: wire.CodeTooLarge, Message: "the body is larger than " + strconv.Itoa(maxBody) + " bytes"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "the body did not come within " + bodyTimeout.String()}
	}
	return &wire.FrameError{Code: wire.CodeBadRequest, Message: "the body cannot be read"}
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
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 6750, section 3
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(e.RetryAfter.Seconds())))))
	}
	type body struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	answerJSON(w, status, map[string]body{"error": {e.Code, e.Message}})
}

func answerJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a client that has gone hears nothing
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
