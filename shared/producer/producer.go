// Package producer appends events from Go: to the streams of their partitions, which
// saves the hop over the intake.
package producer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// Options are what a producer must know of the installation. The zero value is that of
// one with all defaults.
type Options struct {
	Prefix     string // SLUICE_PREFIX; "": sluice:
	Partitions int    // SLUICE_PARTITIONS; 0: 16
	// MaxBacklog refuses events while more entries than this wait for workers. 0: never.
	MaxBacklog int64
}

// Event is what is to be delivered.
type Event struct {
	To       string // user:<id>, topic:<name> or all
	Data     []byte // JSON is passed on as it is, other UTF-8 text as a string, anything else in base64
	Name     string // "": message
	Key      string // idempotency key: a second event with the same To and Key within 10 minutes is left out
	LiveOnly bool   // it is not retained
	Except   string // id of a connection that shall not get it
	Trace    string // W3C traceparent
}

// ErrBacklog says that workers are too far behind, and nothing was appended.
var ErrBacklog = errors.New("too many events wait for workers")

// Failed says which events of a Publish were not appended, or may not have been.
type Failed struct {
	// Errs has an error or nil for each event, in their order. Where Redis's answer did not
	// come it is open whether the event was appended: repeat it only with its Key.
	Errs []error
}

func (f *Failed) Error() string {
	n := 0
	var first error
	for _, err := range f.Errs {
		if err != nil {
			n++
			if first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("%d of %d events were not published; the first: %v", n, len(f.Errs), first)
}

// Unwrap are the failures.
func (f *Failed) Unwrap() []error { return f.Errs }

// backlogFor is how long what was read of the backlog counts.
const backlogFor = time.Second

// Producer appends events. Its methods may be called by any number of goroutines.
type Producer struct {
	store *store.Store
	max   int64

	mu      sync.Mutex
	checked bool // the installation is the one that Options say
	backlog int64
	asked   time.Time
}

// New makes a producer; nothing is sent to Redis yet. redisURL is as SLUICE_REDIS_URL.
func New(redisURL string, o Options) (*Producer, error) {
	if o.Prefix == "" {
		o.Prefix = "sluice:"
	}
	if o.Partitions == 0 {
		o.Partitions = 16
	}
	st, err := store.Open(store.Config{
		RedisURL: redisURL, Prefix: o.Prefix, Partitions: o.Partitions,
		// The others do not matter to who only appends.
		HistorySize: 1, HistoryTTL: time.Hour, SessionTTL: time.Minute, MaxData: 16 << 20,
	})
	if err != nil {
		return nil, err
	}
	return &Producer{store: st, max: o.MaxBacklog}, nil
}

// Close ends its connections.
func (p *Producer) Close() error { return p.store.Close() }

// Publish appends events, in order, in one round trip. It never repeats a command by
// itself: an event could become two. The error is ErrBacklog, or *Failed if some events
// failed, or that of the check of the installation; in the first and last case nothing
// was appended.
func (p *Producer) Publish(ctx context.Context, events ...Event) error {
	if err := p.ready(ctx); err != nil {
		return err
	}
	failed := &Failed{Errs: make([]error, len(events))}
	var pubs []store.Publication
	var places []int
	bad := false
	for i := range events {
		e := &events[i]
		if err := wire.CheckTarget(e.To); err != nil {
			failed.Errs[i], bad = err, true
			continue
		}
		pubs, places = append(pubs, store.Publication{To: e.To, Fields: e.fields()}), append(places, i)
	}
	if len(pubs) > 0 {
		for i, err := range p.store.Publish(ctx, pubs) {
			if err != nil {
				failed.Errs[places[i]], bad = err, true
			}
		}
	}
	if bad {
		return failed
	}
	return nil
}

func (e *Event) fields() []string {
	f := append(make([]string, 0, 14), "to", e.To, "data", string(e.Data))
	for _, x := range [][2]string{{"event", e.Name}, {"id", e.Key}, {"except", e.Except}, {"traceparent", e.Trace}} {
		if x[1] != "" {
			f = append(f, x[0], x[1])
		}
	}
	if e.LiveOnly {
		f = append(f, "retain", "0")
	}
	return f
}

// ready checks the installation once, and the backlog once a second.
func (p *Producer) ready(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.checked {
		if err := p.store.Ready(ctx); err != nil {
			return err
		}
		p.checked = true
	}
	if p.max == 0 {
		return nil
	}
	if time.Since(p.asked) >= backlogFor {
		all, err := p.store.Backlogs(ctx)
		if err != nil {
			return err
		}
		p.backlog, p.asked = 0, time.Now()
		for _, b := range all {
			p.backlog += b.Lag + b.Pending
		}
	}
	if p.backlog > p.max {
		return fmt.Errorf("%w: %d, allowed are %d", ErrBacklog, p.backlog, p.max)
	}
	return nil
}
