package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	firstRetry = 200 * time.Millisecond
	// longestRetry is the longest pause between two tries, before jitter. It is shorter than
	// a gateway's patience with the workers (gateway/slow).
	longestRetry = 10 * time.Second
)

// redeliver is a chain of tries: a task that fails until the client has caught up. Its
// retries are the tries; what is given up is a client that was closed.
var redeliver = &taskType{
	name: "redeliver", queue: "slow", reason: "too_slow",
	letter: chainLetter, handle: redeliverTry, delay: redeliverDelay,
}

// chain is a task's payload.
type chain struct {
	Server string `json:"server"`
	Conn   string `json:"conn"`
	User   string `json:"user,omitempty"`
	To     string `json:"to"`
	After  string `json:"after"` // as of the last report
	Since  int64  `json:"since"` // when it last took something, Redis's clock in ms
}

func chainID(r *wire.SlowReport) string { return r.Conn + " " + r.To }

func parseChain(payload []byte) (chain, error) {
	var c chain
	if err := json.Unmarshal(payload, &c); err != nil {
		return c, fmt.Errorf("not a redelivery: %w", err)
	}
	if !wire.ValidName(c.Server) || !wire.ValidName(c.Conn) || wire.CheckTarget(c.To) != nil || c.Since < 0 {
		return chain{}, errors.New("not a redelivery: it names no server, connection or target")
	}
	return c, nil
}

func chainLetter(payload []byte) map[string]string {
	c, _ := parseChain(payload)
	return map[string]string{"to": c.To, "user": c.User, "conn": c.Conn, "server": c.Server, "after": c.After, "data": c.User}
}

// silent is how long the client has taken nothing.
func (c *chain) silent(w *Worker) time.Duration {
	return time.Duration(w.store.NowMs()-c.Since) * time.Millisecond
}

var errWaits = errors.New("the client has not caught up")

// redeliverTry asks the gateway. The last time it also orders the close: after the attempts,
// or when the client has taken nothing for too long. The answer is a report.
func redeliverTry(ctx context.Context, w *Worker, task *asynq.Task) error {
	c, err := parseChain(task.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	tried, _ := asynq.GetRetryCount(ctx)
	silent := c.silent(w)
	last := tried >= w.slow.Attempts-1 || silent >= w.slow.Timeout
	message := wire.AppendRedeliver(nil, []wire.Redelivery{{Conn: c.Conn, To: c.To, Last: last}})
	if err := w.store.Send(ctx, []store.Outgoing{{Server: c.Server, Payload: message}}); err != nil {
		return err
	}
	w.metrics.slow.WithLabelValues("redelivered").Inc()
	if !last {
		return errWaits
	}
	w.metrics.slow.WithLabelValues("given_up").Inc()
	w.log.Info("giving up a slow client; its gateway closes the connection", "server", c.Server, "conn", c.Conn, "user", c.User, "to", c.To)
	return fmt.Errorf("took nothing for %v, %d tries: closed with 4001: %w", silent.Round(time.Millisecond), tried+1, asynq.SkipRetry)
}

// redeliverDelay is the pause before the next try; n have failed before this one.
func redeliverDelay(w *Worker, n int, task *asynq.Task) time.Duration {
	d := backoff(n + 1)
	if c, err := parseChain(task.Payload()); err == nil {
		d = min(d, max(w.slow.Timeout-c.silent(w), taskCheck))
	}
	return d
}

// backoff doubles from firstRetry to longestRetry, give or take a quarter.
func backoff(n int) time.Duration {
	d := longestRetry
	if n < 10 {
		d = min(d, firstRetry<<n)
	}
	return d*3/4 + rand.N(d/2)
}
