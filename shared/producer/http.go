package producer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"sluice/shared/wire"
)

const (
	requestFor  = 20 * time.Second // a gateway answers within ten
	maxBody     = 2 << 20          // of a request, unless one event is larger
	maxResponse = 4 << 20
	maxWait     = time.Hour // of Retry-After
)

// ErrBinary says that an event's data is neither JSON nor UTF-8, or its name or key is not, which goes over Redis only.
var ErrBinary = errors.New("over HTTP data is JSON or UTF-8 text, and so are name, key and except")

// errToken says that there was no token, so nothing was sent.
var errToken = errors.New("no token")

// Refused is a refusal of a gateway.
type Refused struct {
	Code       string // of the protocol: "forbidden", "rate_limited", ...; "": the answer was none of a gateway
	Message    string
	Status     int           // of the whole request; 0: it is about one event of several
	RetryAfter time.Duration // as the gateway said
}

func (r *Refused) Error() string {
	if r.Status == 0 {
		return fmt.Sprintf("%s: %s", r.Code, r.Message)
	}
	return fmt.Sprintf("HTTP %d: %s: %s", r.Status, r.Code, r.Message)
}

// tooLarge reports whether a gateway, or what stands before it, takes no request of that size.
func (r *Refused) tooLarge() bool { return r.Status == http.StatusRequestEntityTooLarge }

// notSent is why an event was not sent: a request before its own failed.
type notSent string

func (e notSent) Error() string { return "not sent, since those before it failed: " + string(e) }

// httpSink posts to /v1/events.
type httpSink struct {
	url    string
	token  func(ctx context.Context) (string, error)
	client *http.Client
}

func newHTTPSink(text string, o Options) (*httpSink, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Host == "" || o.Token == nil {
		return nil, errors.New("producer: over HTTP it needs the URL of a gateway, http(s)://host[:port], and Options.Token")
	}
	client := http.Client{}
	if o.Client != nil {
		client = *o.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &httpSink{url: u.JoinPath("v1", "events").String(), token: o.Token, client: &client}, nil
}

func (s *httpSink) close() error {
	s.client.CloseIdleConnections()
	return nil
}

// body is the event as it is posted, whose target was checked.
func (e *Event) body() ([]byte, error) {
	if !utf8.ValidString(e.Name) || !utf8.ValidString(e.Key) || !utf8.ValidString(e.Except) { // JSON would make one key of two
		return nil, ErrBinary
	}
	b := make([]byte, 0, 80+len(e.To)+len(e.Data)+len(e.Name)+len(e.Key)+len(e.Except))
	b = append(append(append(b, `{"to":"`...), e.To...), '"')
	for _, field := range [][2]string{{`,"event":`, e.Name}, {`,"id":`, e.Key}, {`,"except":`, e.Except}, {`,"unread":`, e.unread()}} {
		if field[1] != "" {
			b = wire.AppendString(append(b, field[0]...), field[1])
		}
	}
	if e.LiveOnly {
		b = append(b, `,"retain":0`...)
	}
	b = append(b, `,"data":`...)
	switch text := string(e.Data); wire.KindOf(text) {
	case wire.Binary:
		return nil, ErrBinary
	case wire.Text:
		b = wire.AppendString(b, text)
	default:
		b = append(b, text...)
	}
	return append(b, '}'), nil
}

func (s *httpSink) publish(ctx context.Context, events []Event) ([]error, error) {
	errs := make([]error, len(events))
	bodies := make([][]byte, len(events))
	places := checked(events, errs, func(i int) (err error) {
		bodies[i], err = events[i].body()
		return err
	})
	for most := maxBody; len(places) > 0; {
		n, size := 0, 0
		for n < len(places) && n < wire.MaxPosts && (n == 0 || size+len(bodies[places[n]]) < most) {
			size += len(bodies[places[n]]) + 1
			n++
		}
		failed := s.post(ctx, places[:n], bodies, size, errs)
		var r *Refused
		switch {
		case failed == nil:
		case errors.As(failed, &r) && r.tooLarge(): // what stands before gateways may take less than they do
			if n > 1 {
				most = size / 2
				continue
			}
		default:
			for _, place := range places[n:] {
				errs[place] = notSent(failed.Error())
			}
			return errs, nil
		}
		places = places[n:]
	}
	return errs, nil
}

// post sends one request of about size bytes, and notes what became of its events. The error is of the whole.
func (s *httpSink) post(ctx context.Context, places []int, bodies [][]byte, size int, errs []error) error {
	body := append(make([]byte, 0, size+2), '[')
	for i, place := range places {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, bodies[place]...)
	}
	results, err := s.ask(ctx, append(body, ']'))
	if err == nil && len(results) != len(places) {
		err = fmt.Errorf("the answer is about %d of %d events", len(results), len(places))
	}
	for i, place := range places {
		if errs[place] = err; err == nil && results[i].Error != nil {
			errs[place] = &Refused{Code: results[i].Error.Code, Message: results[i].Error.Message}
		}
	}
	return err
}

// answer is what a gateway says of one event, or of the whole.
type answer struct {
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Events []answer `json:"events"`
}

func (s *httpSink) ask(ctx context.Context, body []byte) ([]answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestFor)
	defer cancel()
	token, err := s.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", wire.FormJSON)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return nil, err
	}
	var a answer
	err = json.Unmarshal(text, &a)
	if resp.StatusCode == http.StatusOK {
		return a.Events, err
	}
	refused := &Refused{Status: resp.StatusCode, Message: resp.Status}
	if err == nil && a.Error != nil {
		refused.Code, refused.Message = a.Error.Code, a.Error.Message
	}
	if seconds, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 32); err == nil && seconds > 0 {
		refused.RetryAfter = min(time.Duration(seconds)*time.Second, maxWait)
	}
	return nil, refused
}
