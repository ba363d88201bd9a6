package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/wire"
)

// Options are what a client is made of. URL and Token must be there.
type Options struct {
	URL string // http, https, ws or wss: of any gateway, or what stands before them. /v1/ws is added
	// Token gives a token, within 15 s: at first and each time the client comes back; expired: the last one had expired. With
	// an error that is ErrTerminal Run ends; after any other it tries again.
	Token func(ctx context.Context, expired bool) (string, error)

	Device   string // a name, kept by the caller: the server keeps the positions of this device. "": it does not
	Ack      Ack    // which events are acknowledged without being asked
	Store    Store  // keeps positions over restarts of the program; nil: they are in memory only
	Retained bool   // after a gap what is still there comes; without it, only what is new

	OnEvent   Handler                           // of the own user's events, and those of all, if they have no handler of their own
	OnGap     func(context.Context, *Gap) error // of all targets. It is waited for like a handler
	OnState   func(State)                       // a change. Quick: the connection waits for it
	OnResumed func(Resumed)                     // all targets have been answered on a new connection. Quick, too
	OnError   func(error)                       // what goes wrong and ends nothing: *HandlerError, *Error, or of Token or Store. nil: slog.Default tells it

	// It comes back after MinBackoff (0: 500 ms) and a random part of what doubles from there up to MaxBackoff (0: 30 s).
	MinBackoff, MaxBackoff time.Duration
	// QueueCount and QueueBytes bound the publishes and calls that wait for answers (0: 1000, 4 MiB). QueueBytes is also how many bytes of
	// events wait for handlers; what is more stays in the server.
	QueueCount, QueueBytes int
	// MaxMessage bounds a message of the server, in bytes (0: 1 MiB). It must be above six times SLUICE_MAX_FRAME_BYTES, since
	// JSON may escape every byte.
	MaxMessage int64
	Dialer     *websocket.Dialer // for TLS and proxies; nil: the usual one
}

// Ack says which events are acknowledged when they have been handled.
type Ack int

// Which are acknowledged.
const (
	AckDevice Ack = iota // all, if there is a Device
	AckAlways            // all, also without one: receipts
	AckManual            // those that are given to Client.Ack
)

// Phase is what a client does.
type Phase string

// The phases.
const (
	Connecting Phase = "connecting"
	Connected  Phase = "connected"
	Waiting    Phase = "waiting" // for the next attempt
	Closed     Phase = "closed"  // for good
)

// State is how a client is.
type State struct {
	Phase   Phase
	Err     error         // Waiting, Closed: why; *CloseError if the server said so
	RetryIn time.Duration // Waiting: until the next attempt
}

// Resumed tells what became of the targets that had a position.
type Resumed struct {
	Targets   []string
	Recovered bool // nothing was missing
}

// Stats count what a client has seen.
type Stats struct {
	Repeats   int // events that came again, and were left out
	Holes     int // in what came, to be mended from the history
	Overflows int // of the queue: left in the server, and asked for later
	Dropped   int // live-only events for which there was no room
}

// Client is a connection to Sluice that comes back by itself. Its methods may be called by any number of goroutines, also
// before Run and in handlers.
type Client struct {
	o        Options // static, with defaults; so is url
	url      string
	writer   chan struct{} // there may be something to be written
	handlers chan struct{} // or to be handled, or saved

	saved time.Time // owned by Run: when positions were saved last

	mu         sync.Mutex // guards what follows, and subscriptions and publishes; nobody waits with it
	told       []func()   // to be called by who unlocks
	started    bool
	ended      bool
	open       bool // there is a connection, and it was welcomed
	user       string
	limits     wire.Limits
	stats      Stats
	refs       int
	targets    map[string]*Subscription
	asks       map[*Subscription]time.Time // to be subscribed to, when
	inServer   map[string]position         // targets that the server knows on this connection and nobody here handles, and where those stand that it gives
	leaving    map[string]*leave           // targets
	acks       map[string]wire.ID          // to be sent
	ackAt      time.Time                   // when; zero: as soon as the writer looks
	unanswered map[*Subscription]struct{}  // of those that this connection goes on with
	resumed    Resumed                     // what will be told of them
	queue      queue
	outbox     outbox
	positions  positions
}

// New makes a client. It does nothing before Run.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	if (u.Scheme != "ws" && u.Scheme != "wss") || u.Host == "" {
		return nil, fmt.Errorf("client: URL %q is not that of a gateway: http(s)://host[:port]", o.URL)
	}
	if o.Token == nil {
		return nil, errors.New("client: Token is missing")
	}
	u = u.JoinPath("v1", "ws")
	u.RawQuery, u.Fragment = "", ""
	if o.Device != "" {
		u.RawQuery = url.Values{"device": {o.Device}, "resume": {"device"}}.Encode()
	}
	o.defaults()
	return &Client{
		o: o, url: u.String(), writer: make(chan struct{}, 1), handlers: make(chan struct{}, 1),
		targets: map[string]*Subscription{}, asks: map[*Subscription]time.Time{}, inServer: map[string]position{},
		leaving: map[string]*leave{}, acks: map[string]wire.ID{}, unanswered: map[*Subscription]struct{}{},
		queue:     queue{most: o.QueueBytes, full: map[*Subscription]struct{}{}},
		outbox:    outbox{mostCount: o.QueueCount, mostBytes: o.QueueBytes, byRef: map[string]*Pending{}, lanes: map[string][]*Pending{}},
		positions: positions{at: map[string]moved{}},
	}, nil
}

func (o *Options) defaults() {
	if o.MinBackoff <= 0 {
		o.MinBackoff = 500 * time.Millisecond
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 30 * time.Second
	}
	o.MaxBackoff = max(o.MaxBackoff, o.MinBackoff)
	if o.QueueCount <= 0 {
		o.QueueCount = 1000
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 4 << 20
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 1 << 20
	}
	if o.Dialer == nil {
		o.Dialer = websocket.DefaultDialer
	}
	if o.OnError == nil {
		o.OnError = func(err error) { slog.Warn("sluice client", "error", err) }
	}
	if o.OnState == nil {
		o.OnState = func(State) {}
	}
	if o.OnResumed == nil {
		o.OnResumed = func(Resumed) {}
	}
}

// Run connects, calls the handlers, and comes back after every break, until ctx ends, or until there is no use in coming back.
// Handlers, OnGap and the Store are called by the goroutine that called Run, one at a time; beside it there is one that connects
// and reads, and one that writes. When ctx ends it waits for the handler that runs, acknowledges and saves what was handled, and
// returns nil. Otherwise the error says why: a *CloseError, ErrTerminal, or that of Store.Load. A client runs once.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.started {
		c.mu.Unlock()
		return errors.New("client: Run was called before")
	}
	c.started = true
	c.mu.Unlock()
	err := c.load(ctx)
	if err == nil {
		err = c.run(ctx)
	}
	c.locked(func() {
		c.ended = true
		for to, s := range c.targets {
			delete(c.targets, to)
			s.end(ErrClosed)
		}
		c.outbox.fail(ErrClosed)
	})
	c.o.OnState(State{Phase: Closed, Err: err})
	return err
}

func (c *Client) run(ctx context.Context) error {
	// The connection lives longer than ctx: what was handled at the end is acknowledged on it.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	handling, stop := context.WithCancel(ctx)
	defer stop()
	over := make(chan error, 1)
	go func() {
		over <- c.keep(life)
		stop()
	}()
	c.handle(handling)
	c.locked(func() { c.ackAt = time.Time{} })
	end()
	err := <-over
	c.saved = time.Time{}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveFor)
	defer cancel()
	c.save(last)
	return err
}

// User is who the token is of; "" before the first connection.
func (c *Client) User() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.user
}

// Stats are what was counted until now.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// locked calls f with the mutex.
func (c *Client) locked(f func()) {
	c.mu.Lock()
	defer c.unlock()
	f()
}

// unlock calls what was to be told without the mutex.
func (c *Client) unlock() {
	told := c.told
	c.told = nil
	c.mu.Unlock()
	for _, f := range told {
		f()
	}
}

func (c *Client) tell(f func()) { c.told = append(c.told, f) }

func (c *Client) failed(err error) { c.tell(func() { c.o.OnError(err) }) }

func (c *Client) wakeWriter() { wake(c.writer) }

func (c *Client) wakeHandlers() { wake(c.handlers) }

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
