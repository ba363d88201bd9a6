// Package wake asks for workers at a web address when something waits for them and none lives.
package wake

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/shared/ops"
	"sluice/shared/outbound"
	"sluice/shared/store"
)

const (
	// wakeEvery is the least time between two requests for workers, of all gateways together; one takes no longer.
	wakeEvery = 5 * time.Second
	// livesEvery is how often it is looked whether a worker lives.
	livesEvery = 200 * time.Millisecond
	// arrivalsFor is how long a gateway waits for events before it looks again.
	arrivalsFor = time.Second
)

// Outcomes of requests for workers.
const (
	outcomeOK     = "ok"
	outcomeFailed = "failed"
)

// Options are what a Waker is made of.
type Options struct {
	Config Config // that is valid
	Store  *store.Store
	Asked  *prometheus.CounterVec // requests, by outcome
	Log    *slog.Logger
}

// Waker asks for workers when something waits for them and none lives. While none does it waits for what is appended, so it
// knows at once; the rest of the time it costs a command every livesEvery. Nothing waits for it.
type Waker struct {
	url     string
	keys    outbound.Keys
	store   *store.Store
	client  *http.Client
	asked   *prometheus.CounterVec
	log     *slog.Logger
	blind   bool // the log says that Redis does not answer
	failing bool // the log says that the address does not work
}

// New makes a Waker; Run must be called.
func New(o Options) *Waker {
	keys, _ := outbound.ParseKeys(o.Config.Secret)
	return &Waker{url: o.Config.URL, keys: keys, store: o.Store, client: outbound.NewClient(wakeEvery), asked: o.Asked, log: o.Log}
}

// Run looks, and asks for workers, until ctx ends. Without an address it returns at once.
func (w *Waker) Run(ctx context.Context) error {
	if w.url == "" {
		return nil
	}
	arrivals, err := w.store.NewArrivals()
	if err != nil {
		return fmt.Errorf("cannot wait for events: %w", err)
	}
	defer func() { _ = arrivals.Close() }()
	defer context.AfterFunc(ctx, func() { _ = arrivals.Close() })() // ends a wait under way
	for ctx.Err() == nil {
		needed, pause, err := w.look(ctx, arrivals)
		if err != nil {
			pause = time.Second
			if !w.blind && ctx.Err() == nil {
				w.log.Warn("cannot see whether workers are needed; retrying", "err", err)
			}
		}
		w.blind = err != nil
		if needed {
			w.ask(ctx)
		}
		ops.Pause(ctx, pause)
	}
	return nil
}

// look reports whether it is this gateway's turn to ask for workers, and after what pause to look again. While no worker
// lives and nothing waits it takes a while.
func (w *Waker) look(ctx context.Context, arrivals *store.Arrivals) (needed bool, pause time.Duration, err error) {
	if lives, err := w.lives(ctx, store.Workers); err != nil || lives {
		return false, livesEvery, err
	}
	waits, err := w.leftBehind(ctx)
	if err == nil && !waits {
		waits, err = arrivals.Await(ctx, arrivalsFor)
	}
	if err != nil || !waits {
		return false, 0, err
	}
	if lives, err := w.lives(ctx, store.Workers); err != nil || lives { // it came meanwhile
		return false, livesEvery, err
	}
	needed, err = w.store.WakeTurn(ctx, wakeEvery)
	return needed, livesEvery, err
}

func (w *Waker) lives(ctx context.Context, kind store.Kind) (bool, error) {
	live, err := w.store.Live(ctx, kind)
	return len(live) > 0, err
}

// leftBehind reports whether something waits that is no event: calls, which workers look after that call functions, and acks and
// reports about slow clients, which any worker may look after. Who calls functions stands on no other list.
func (w *Waker) leftBehind(ctx context.Context) (bool, error) {
	lives, err := w.lives(ctx, store.Callers)
	if err != nil || lives {
		return false, err
	}
	if waits, err := w.store.Waits(ctx, store.Calls, store.Connects); err != nil || waits {
		return waits, err
	}
	lives, err = w.lives(ctx, store.Helpers)
	if err != nil || lives {
		return false, err
	}
	return w.store.Waits(ctx, store.Acks, store.SlowReports)
}

// ask sends the request: an event (CloudEvents 1.0) that says no more than that it is time.
func (w *Waker) ask(ctx context.Context) {
	id := rand.Text()
	now := time.UnixMilli(w.store.NowMs()).UTC()
	err := w.post(ctx, id, now)
	if ctx.Err() != nil {
		return
	}
	outcome := outcomeOK
	if err != nil {
		outcome = outcomeFailed
	}
	w.asked.WithLabelValues(outcome).Inc()
	switch {
	case err == nil:
		w.log.Info("asked for a worker: something waits, and none lives", "id", id)
	case !w.failing:
		w.log.Error("cannot ask for a worker at SLUICE_WAKE_URL; retrying every 5 s, start one", "err", err)
	}
	w.failing = err != nil
}

func (w *Waker) post(ctx context.Context, id string, now time.Time) error {
	source, err := json.Marshal(w.store.Config().Prefix) // the only one that may want escapes
	if err != nil {
		return err
	}
	body := []byte(`{"specversion":"1.0","id":"` + id + `","source":` + string(source) + `,"type":"sluice.wake","time":"` + now.Format(time.RFC3339) + `"}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return outbound.Reason(err)
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	w.keys.Sign(req.Header, id, now, body)
	answer, err := w.client.Do(req)
	if err != nil {
		return outbound.Reason(err)
	}
	_ = answer.Body.Close() // it says nothing that matters
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %d (redirects are not followed)", answer.StatusCode)
	}
	return nil
}
