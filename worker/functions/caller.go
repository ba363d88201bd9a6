package functions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/shared/outbound"
	"sluice/shared/wire"
)

// atOnce is how many attempts at one address are under way: who is slow holds up only its own.
const atOnce = 64

// Caller makes attempts. It may be used by several goroutines.
type Caller struct {
	routes   routing
	keys     outbound.Keys
	timeout  time.Duration
	source   string
	client   *http.Client
	targets  map[string]*target
	connects chan struct{} // slots of Connect
}

// target is an address, whoever is sent there.
type target struct {
	slots   chan struct{}
	breaker breaker
}

// Outcome is how an attempt ended.
type Outcome struct {
	Answer *Answer       // it is done; nil: it is not
	After  time.Duration // the function, or the breaker, wants no other attempt before this; 0: it says nothing
	Gone   bool          // 410: it wants no other attempt at all
	Rested bool          // nothing was sent: the address is left alone for a while
	Status int           // of the answer, 0 if none came
	Body   string        // its first 200 bytes
	Err    error         // why it is not done
	Broke  bool          // from now on the address is left alone for a while
	URL    string
	Took   time.Duration
}

// ErrNoFunction says that no address takes an event.
var ErrNoFunction = errors.New("no function takes it")

// NewCaller makes one of settings that are valid. source is in every event: who calls.
func NewCaller(cfg *Config, source string) (*Caller, error) {
	routes, err := cfg.routes()
	if err != nil {
		return nil, err
	}
	keys, err := cfg.secrets()
	if err != nil {
		return nil, err
	}
	c := &Caller{
		routes: routes, keys: keys, timeout: cfg.Timeout, source: source, targets: make(map[string]*target), connects: make(chan struct{}, atOnce),
		client: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: atOnce,
				IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true,
				MaxResponseHeaderBytes: 16 << 10,
			},
			// A redirect would carry what was signed for one address to another one.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for _, r := range routes {
		if c.targets[r.url] == nil {
			c.targets[r.url] = &target{slots: make(chan struct{}, atOnce)}
		}
	}
	return c, nil
}

// Close lets go of idle connections.
func (c *Caller) Close() { c.client.CloseIdleConnections() }

// Takes reports whether there is an address for an event.
func (c *Caller) Takes(of *wire.Call) bool {
	_, ok := c.routes.find(of.Kind, of.Name)
	return ok
}

// Attempt calls the function once. It waits for its turn at the address, and then no longer than one attempt may take.
// An error is that of ctx, or ErrNoFunction.
func (c *Caller) Attempt(ctx context.Context, of *wire.Call, known Known, at time.Time) (*Outcome, error) {
	url, ok := c.routes.find(of.Kind, of.Name)
	if !ok {
		return nil, ErrNoFunction
	}
	t := c.targets[url]
	select {
	case t.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-t.slots }()
	begin := time.Now()
	if wait := t.breaker.ask(begin); wait > 0 {
		return &Outcome{URL: url, Rested: true, After: wait, Err: errors.New("the function has failed again and again, and is left alone for a while")}, nil
	}
	body, err := render(c.source, of, known, at)
	if err != nil {
		t.breaker.dropped()
		return &Outcome{URL: url, Err: fmt.Errorf("cannot write the event: %w", err)}, nil
	}
	out, text := c.send(ctx, url, of.ID, of.Trace, body)
	if out.Err == nil {
		out.Answer, out.Err = parseAnswer(text)
	}
	out.URL, out.Took = url, time.Since(begin)
	if ctx.Err() != nil && out.Answer == nil {
		t.breaker.dropped()
		return nil, ctx.Err()
	}
	out.Broke = t.breaker.tell(out.Answer != nil || out.Gone, time.Now())
	return out, nil
}

// send posts an event once. Without an error in the outcome it was answered by 2xx, with this text.
func (c *Caller) send(ctx context.Context, url, id, trace string, body []byte) (*Outcome, []byte) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return &Outcome{Err: err}, nil
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "sluice")
	if trace != "" {
		r.Header.Set("Traceparent", trace)
	}
	c.keys.Sign(r.Header, id, time.Now(), body)
	resp, err := c.client.Do(r)
	if err != nil {
		return &Outcome{Err: reason(err, c.timeout)}, nil
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	out := &Outcome{Status: resp.StatusCode, Body: begin(got)}
	switch {
	case err != nil:
		out.Err = reason(err, c.timeout)
	case resp.StatusCode == http.StatusGone:
		out.Gone, out.Err = true, errors.New("it answered 410 Gone")
	case resp.StatusCode/100 != 2:
		out.Err = fmt.Errorf("it answered %d", resp.StatusCode)
		out.After = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	case len(got) > maxAnswer:
		out.Err = fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return out, got
}

// reason is a failure of the link, without the address: what stands behind its path may be secret.
func reason(err error, timeout time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no whole answer came within %v", timeout)
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// mostRetryAfter bounds what a function may ask for.
const mostRetryAfter = time.Hour

// retryAfter reads the header, seconds or a date (RFC 9110, 10.2.3).
func retryAfter(h string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseUint(strings.TrimSpace(h), 10, 31); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(h); err == nil {
		d = at.Sub(now)
	}
	return min(max(0, d), mostRetryAfter)
}

// begin is the begin of an answer, for whoever looks why an event is a dead letter.
func begin(body []byte) string {
	const most = 200
	text := strings.ToValidUTF8(string(body[:min(len(body), most)]), string(utf8.RuneError))
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
