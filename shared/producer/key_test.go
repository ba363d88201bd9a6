package producer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// away is a sink that cannot be reached, or does not answer.
type away struct{ err error }

func (a away) publish(_ context.Context, events []Event) ([]error, error) {
	errs := make([]error, len(events))
	for i := range errs {
		errs[i] = a.err
	}
	return errs, nil
}

func (away) close() error { return nil }

// TestKeysAreForgotten: an event that may have been appended is not sent any more when its key may be forgotten; one that was never
// sent waits as long as it takes.
func TestKeysAreForgotten(t *testing.T) {
	broken := errors.New("the link broke")
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	limited := &Refused{Status: 429, Code: "rate_limited", RetryAfter: time.Minute}
	issuer := errors.New("who gives tokens does not answer")
	for _, c := range []struct {
		name string
		sink sink
		err  error
		lost bool
	}{
		{"no answer", away{broken}, broken, true},
		{"nobody there", away{dial}, dial, false},
		{"refused", away{limited}, limited, false},
		{"no token", &httpSink{token: func(context.Context) (string, error) { return "", issuer }, client: &http.Client{}}, issuer, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lost := make(chan error, 1)
				begin := time.Now()
				b := NewBuffer(&Producer{c.sink}, BufferOptions{
					OnLost:  func(_ Event, err error) { lost <- err },
					OnRetry: func(error, time.Duration) {},
				})
				if err := b.Add(t.Context(), Event{To: "all", Data: []byte("1")}); err != nil {
					t.Fatal(err)
				}
				gone, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := b.Flush(gone)
				if c.lost {
					if took := time.Since(begin); !errors.Is(err, ErrUnknown) || !errors.Is(<-lost, ErrUnknown) || took < keyFor || took > keyFor+time.Minute {
						t.Errorf("after %v: %v", took, err)
					}
				} else if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, c.err) {
					t.Errorf("got %v", err)
				}
				if err := b.Close(gone); c.lost != (err == nil) {
					t.Errorf("Close: %v", err)
				}
			})
		})
	}
}
