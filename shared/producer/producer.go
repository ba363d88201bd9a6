package producer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sluice/shared/wire"
)

// Options are what a producer must know of the installation. The zero value is that of
// one with all defaults.
type Options struct {
	// Over Redis.
	Prefix     string // SLUICE_PREFIX; "": sluice:
	Partitions int    // SLUICE_PARTITIONS; 0: 16
	// MaxBacklog refuses events while more entries than this wait for workers. 0: never.
	MaxBacklog int64

	// Over HTTP. Token gives one that may publish to the targets; it is asked for each request.
	Token  func(ctx context.Context) (string, error)
	Client *http.Client // nil: http.DefaultClient; redirects are not followed
}

// Event is what is to be delivered.
type Event struct {
	To       string // user:<id>, topic:<name> or all
	Data     []byte // JSON is passed on as it is, other UTF-8 text as a string, anything else in base64
	Name     string // "": message
	Key      string // idempotency key: a second event with the same To and Key that workers take within 10 minutes of the first is left out
	LiveOnly bool   // it is not retained
	Except   string // id of a connection that shall not get it
	// Unread is how long an event for user:<id> may wait to be acknowledged by one of the user's devices until a function is told,
	// from 1s to 24h; 0: none ever is.
	Unread time.Duration
	Trace  string // W3C traceparent; over Redis only
}

// unread is the field; "": none.
func (e *Event) unread() string {
	if e.Unread == 0 {
		return ""
	}
	return e.Unread.String()
}

// check says whether it can be sent at all: the error is wire.ErrTarget or wire.ErrUnread.
func (e *Event) check() error {
	if err := wire.CheckTarget(e.To); err != nil {
		return err
	}
	_, err := wire.CheckUnread(e.To, e.unread(), e.LiveOnly)
	return err
}

// ErrBacklog says that workers are too far behind, and nothing was appended.
var ErrBacklog = errors.New("too many events wait for workers")

// Failed says which events of a Publish were not appended, or may not have been.
type Failed struct {
	// Errs has an error or nil for each event, in their order: wire.ErrTarget, wire.ErrUnread, ErrBinary, a *Refused of a gateway, or one of
	// Redis or the link. Where the answer did not come it is open whether the event was appended: repeat it only with its Key.
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

// sink appends events, in order. An error says that nothing was appended, else there is one or nil for each event.
type sink interface {
	publish(ctx context.Context, events []Event) ([]error, error)
	close() error
}

// Producer appends events. Its methods may be called by any number of goroutines.
type Producer struct{ sink sink }

// New makes a producer; nothing is sent yet. url is that of Redis, as SLUICE_REDIS_URL, or with http:// or https:// of any
// gateway, or what stands before them.
func New(url string, o Options) (*Producer, error) {
	var s sink
	var err error
	if strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://") {
		s, err = newHTTPSink(url, o)
	} else {
		s, err = newRedisSink(url, o)
	}
	if err != nil {
		return nil, err
	}
	return &Producer{sink: s}, nil
}

// Close ends its connections.
func (p *Producer) Close() error { return p.sink.close() }

// Publish appends events, in order, in one round trip; over HTTP in one for every thousand. It never repeats anything by
// itself: an event could become two. The error is ErrBacklog, or *Failed if some events
// failed, or that of the check of the installation; in the first and last case nothing
// was appended.
func (p *Producer) Publish(ctx context.Context, events ...Event) error {
	errs, err := p.sink.publish(ctx, events)
	if err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return &Failed{Errs: errs}
		}
	}
	return nil
}

// checked are the places of the events that may be sent; errs is told of the others.
func checked(events []Event, errs []error, check func(i int) error) (places []int) {
	for i := range events {
		err := events[i].check()
		if err == nil {
			err = check(i)
		}
		if err == nil {
			places = append(places, i)
		}
		errs[i] = err
	}
	return places
}
