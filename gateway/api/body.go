package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"sluice/shared/wire"
)

// limitBodies is the limit of the bytes of requests: a label of the metric.
const limitBodies = "bodies"

const (
	bodyTimeout = 10 * time.Second // for a request's body to come

	// bodyBytes are those of all bodies that are read or worked on at a time, userBodies those of one user: who wants more waits
	// its turn, and so many may wait.
	bodyBytes, userBodies         = 64 << 20, 8 << 20
	waitingBodies, waitingOfAUser = 4096, 64
)

// takeRoom takes some of the budget for bodies of requests and large answers; give must be called when they are no more.
func (h *API) takeRoom(ctx context.Context, user string, bytes int64) (give func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	if err := h.bodies.Acquire(ctx, user, bytes); err != nil {
		h.o.Metrics.Limited.WithLabelValues(limitBodies).Inc()
		return nil, &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many large requests at a time; try again"}
	}
	return func() { h.bodies.Release(user, bytes) }, nil
}

// readBody reads what comes with a request, within its bounds.
func (h *API) readBody(w http.ResponseWriter, in *incoming, most int) (err error) {
	weight := int64(most)
	if in.ContentLength >= 0 {
		weight = min(weight, in.ContentLength)
	}
	link := http.NewResponseController(w)
	if weight > 0 {
		give, err := h.takeRoom(in.Context(), in.id.User, weight)
		if err != nil {
			return err
		}
		in.done = append(in.done, give)
	}
	_ = link.SetReadDeadline(time.Now().Add(bodyTimeout)) // a connection that refuses it is closed
	in.body, err = readAll(http.MaxBytesReader(w, in.Body, int64(most)), int(weight))
	if err == nil {
		_ = link.SetReadDeadline(time.Time{})
		return nil
	}
	// The deadline stays, else the server would wait for the rest before it answers, for ever.
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return &wire.FrameError{Code: wire.CodeTooLarge, Message: "the body is larger than " + strconv.Itoa(most) + " bytes"}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The link is slow, and the request may be right.
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: "the body did not come within " + bodyTimeout.String() + "; try again"}
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
