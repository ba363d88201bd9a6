package producer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sluice/shared/store"
)

// backlogFor is how long what was read of the backlog counts.
const backlogFor = time.Second

// redisSink appends to the streams of partitions.
type redisSink struct {
	store *store.Store
	max   int64

	mu      sync.Mutex
	checked bool // the installation is the one that Options say
	backlog int64
	asked   time.Time
}

func newRedisSink(url string, o Options) (*redisSink, error) {
	if o.Prefix == "" {
		o.Prefix = "sluice:"
	}
	if o.Partitions == 0 {
		o.Partitions = 16
	}
	st, err := store.Open(store.Config{
		RedisURL: url, Prefix: o.Prefix, Partitions: o.Partitions,
		// The others do not matter to who only appends.
		HistorySize: 1, HistoryTTL: time.Hour, SessionTTL: time.Minute, MaxData: 16 << 20,
	})
	if err != nil {
		return nil, err
	}
	return &redisSink{store: st, max: o.MaxBacklog}, nil
}

func (s *redisSink) close() error { return s.store.Close() }

// publish never repeats a command by itself.
func (s *redisSink) publish(ctx context.Context, events []Event) ([]error, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	errs := make([]error, len(events))
	places := checked(events, errs, func(int) error { return nil })
	if len(places) == 0 {
		return errs, nil
	}
	pubs := make([]store.Publication, len(places))
	for i, place := range places {
		pubs[i] = store.Publication{To: events[place].To, Fields: events[place].fields()}
	}
	for i, err := range s.store.Publish(ctx, pubs) {
		errs[places[i]] = err
	}
	return errs, nil
}

func (e *Event) fields() []string {
	f := append(make([]string, 0, 16), "to", e.To, "data", string(e.Data))
	for _, x := range [][2]string{{"event", e.Name}, {"id", e.Key}, {"except", e.Except}, {"traceparent", e.Trace}, {"unread", e.unread()}} {
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
func (s *redisSink) ready(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.checked {
		if err := s.store.Ready(ctx); err != nil {
			return err
		}
		s.checked = true
	}
	if s.max == 0 {
		return nil
	}
	if time.Since(s.asked) >= backlogFor {
		all, err := s.store.Backlogs(ctx)
		if err != nil {
			return err
		}
		s.backlog, s.asked = 0, time.Now()
		for _, b := range all {
			s.backlog += b.Lag + b.Pending
		}
	}
	if s.backlog > s.max {
		return fmt.Errorf("%w: %d, allowed are %d", ErrBacklog, s.backlog, s.max)
	}
	return nil
}
