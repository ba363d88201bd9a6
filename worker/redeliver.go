package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	// Redelivery has few goroutines, and connections of its own (store.Tasks): however
	// many clients are slow, the fan-out does not wait for them.
	redeliveries = 8

	firstRetry = 200 * time.Millisecond
	// longestRetry is the longest pause between two tries, before jitter. It is shorter than
	// a gateway's patience with the workers (gateway/lag.go).
	longestRetry = 10 * time.Second
	taskCheck    = 100 * time.Millisecond // how often asynq looks for what is due

	slowEntries = 256              // reports of a partition read at once
	slowBlock   = time.Second / 2  // bounds how long a stop waits for reports
	slowIdle    = 10 * time.Second // a report that nobody has finished by then is taken from who read it
)

// redeliver keeps the time for clients that do not keep up. The gateway serves them from
// the history by itself, as soon as their socket has room; the worker asks how far it is,
// again and again in growing distances, and decides when it is over.
//
// A chain of tries is one task of asynq, unique for the connection and target, that fails
// until the client has caught up: asynq's retries are the tries, and its archive holds
// those that were given up. What the gateways report begins, restarts and ends chains.
// Every part may be done twice or get lost: gateways report again (gateway/lag.go), and
// the answer to a question for a client that is not slow any more ends its chain.
type redeliver struct {
	w       *Worker
	log     *slog.Logger
	reports []*store.GroupReader // one, or on a Cluster one for each partition
	slots   chan struct{}        // bounds the reports that are followed at once
	tasks   *asynq.Client
	inspect *asynq.Inspector
	server  *asynq.Server
	queue   string
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

const taskType = "redeliver"

func taskID(r *wire.SlowReport) string { return r.Conn + " " + r.To }

func newRedeliver(w *Worker) (*redeliver, error) {
	var reports []*store.GroupReader
	for _, set := range w.together() {
		reader, err := w.store.NewSlowReader(set)
		if err != nil {
			return nil, err
		}
		reports = append(reports, reader)
	}
	at := w.store.Tasks()
	r := &redeliver{
		w: w, log: w.log, reports: reports, slots: make(chan struct{}, redeliveries), queue: at.Queue(),
		tasks: asynq.NewClient(at), inspect: asynq.NewInspector(at),
	}
	r.server = asynq.NewServer(at, asynq.Config{
		Concurrency: redeliveries, Queues: map[string]int{r.queue: 1},
		TaskCheckInterval: taskCheck, DelayedTaskCheckInterval: taskCheck,
		JanitorInterval: time.Hour, // it removes completed tasks, and none is kept
		RetryDelayFunc:  r.delay,
		ShutdownTimeout: 2 * time.Second,
		Logger:          asynqLog{w.log},
		LogLevel:        asynq.WarnLevel,
	})
	return r, nil
}

// run works until ctx ends.
func (r *redeliver) run(ctx context.Context) error {
	defer func() { _ = errors.Join(r.tasks.Close(), r.inspect.Close()) }()
	if err := r.server.Start(asynq.HandlerFunc(r.try)); err != nil {
		return fmt.Errorf("worker %s: cannot start the task queue: %w", r.w.id, err)
	}
	defer r.server.Shutdown() // waits for the tries under way
	var listening sync.WaitGroup
	for _, reports := range r.reports {
		listening.Go(func() { r.listen(ctx, reports) })
	}
	listening.Wait()
	return nil
}

// listen follows what gateways report, until ctx ends.
func (r *redeliver) listen(ctx context.Context, reports *store.GroupReader) {
	defer func() { _ = reports.Close() }()
	work := context.WithoutCancel(ctx) // every command has its own time limit
	var backoff time.Duration
	var claimAt time.Time
	for ctx.Err() == nil {
		err := r.turn(work, reports, &claimAt)
		if err == nil {
			backoff = 0
			continue
		}
		if backoff == 0 && ctx.Err() == nil {
			r.log.Warn("cannot process the reports about slow clients; retrying", "err", err)
		}
		backoff = min(max(2*backoff, 50*time.Millisecond), maxBackoff)
		pause(ctx, backoff)
	}
}

// turn follows new reports, and now and then those that another worker left.
func (r *redeliver) turn(ctx context.Context, reports *store.GroupReader, claimAt *time.Time) error {
	if now := time.Now(); now.After(*claimAt) {
		// Reports that were trimmed away meanwhile are made again.
		entries, _, more, err := reports.Claim(ctx, slowIdle)
		if err != nil {
			return err
		}
		if !more {
			*claimAt = now.Add(slowIdle / 2)
		}
		if err := r.follow(ctx, reports, entries); err != nil {
			return err
		}
	}
	defer r.w.groupApart("reports about slow clients", reports)
	entries, err := reports.Read(ctx, slowEntries, slowBlock)
	if err != nil {
		return err
	}
	return r.follow(ctx, reports, entries)
}

// follow does what reports ask for. Of several about one chain the last one counts.
// Those that fail stay, and are claimed later.
func (r *redeliver) follow(ctx context.Context, reports *store.GroupReader, entries []store.Entry) error {
	chains := make([]string, len(entries)) // of each entry, "" if it is no report
	last := make(map[string]*wire.SlowReport)
	for i, e := range entries {
		report, ok := wire.ParseSlowReport(e.Fields)
		if !ok {
			r.w.metrics.slow.WithLabelValues("malformed").Inc()
			continue
		}
		chains[i] = taskID(&report)
		last[chains[i]] = &report
	}
	var mu sync.Mutex
	failed := make(map[string]error)
	var group sync.WaitGroup
	for id, report := range last {
		r.slots <- struct{}{}
		group.Go(func() {
			defer func() { <-r.slots }()
			if err := r.do(ctx, report); err != nil {
				mu.Lock()
				failed[id] = err
				mu.Unlock()
			}
		})
	}
	group.Wait()
	done := entries[:0]
	for i, e := range entries {
		if failed[chains[i]] == nil {
			done = append(done, e)
		}
	}
	err := reports.Done(ctx, done)
	for _, one := range failed {
		return errors.Join(one, err)
	}
	return err
}

func (r *redeliver) do(ctx context.Context, report *wire.SlowReport) error {
	r.w.metrics.slow.WithLabelValues(report.State).Inc()
	switch report.State {
	case wire.SlowLagging:
		return r.begin(ctx, report)
	case wire.SlowProgress:
		if err := r.end(ctx, taskID(report)); err != nil {
			return err
		}
		return r.begin(ctx, report)
	}
	return r.end(ctx, taskID(report))
}

// begin starts a chain, unless one is alive.
func (r *redeliver) begin(ctx context.Context, report *wire.SlowReport) error {
	payload, err := json.Marshal(chain{
		Server: report.Server, Conn: report.Conn, User: report.User, To: report.To, After: report.After.String(), Since: r.w.store.NowMs(),
	})
	if err != nil {
		return fmt.Errorf("cannot make a redelivery: %w", err)
	}
	id := taskID(report)
	for try := 0; ; try++ {
		_, err := r.tasks.EnqueueContext(ctx, asynq.NewTask(taskType, payload), asynq.Queue(r.queue), asynq.TaskID(id),
			asynq.ProcessIn(backoff(0)), asynq.MaxRetry(r.w.slow.Attempts-1), asynq.Timeout(slowIdle))
		if !errors.Is(err, asynq.ErrTaskIDConflict) || try == 3 {
			return err
		}
		info, err := r.inspect.GetTaskInfo(r.queue, id)
		switch {
		case errors.Is(err, asynq.ErrQueueNotFound):
			if err := r.w.store.AddQueue(ctx); err != nil {
				return err
			}
		case errors.Is(err, asynq.ErrTaskNotFound): // just ended
		case err == nil && info.State == asynq.TaskStateArchived: // given up, and the gateway did not hear that it should close
			if err := r.end(ctx, id); err != nil {
				return err
			}
		default: // it is alive, or what is left of it cannot be read
			lost, failed := r.w.store.DropLostTask(ctx, id)
			if lost {
				continue
			}
			if err = errors.Join(err, failed); err != nil {
				return fmt.Errorf("cannot look at a redelivery: %w", err)
			}
			return nil
		}
	}
}

// end ends a chain. A task that is being worked on cannot be deleted; that takes as long
// as a PUBLISH does.
func (r *redeliver) end(ctx context.Context, id string) error {
	for try := 0; ; try++ {
		err := r.inspect.DeleteTask(r.queue, id)
		switch {
		case err == nil || errors.Is(err, asynq.ErrTaskNotFound):
			return nil
		case errors.Is(err, asynq.ErrQueueNotFound) && try == 0:
			if err := r.w.store.AddQueue(ctx); err != nil {
				return err
			}
		case try == 5:
			return fmt.Errorf("cannot end a redelivery: %w", err)
		default:
			if lost, err := r.w.store.DropLostTask(ctx, id); lost || err != nil {
				return err
			}
			pause(ctx, 20*time.Millisecond)
		}
	}
}

var errWaits = errors.New("the client has not caught up")

// try asks the gateway. The last time it also orders the close: after the attempts, or
// when the client has taken nothing for too long. The answer is a report.
func (r *redeliver) try(ctx context.Context, task *asynq.Task) error {
	c, err := parseChain(task.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	tried, _ := asynq.GetRetryCount(ctx)
	silent := time.Duration(r.w.store.NowMs()-c.Since) * time.Millisecond
	last := tried >= r.w.slow.Attempts-1 || silent >= r.w.slow.Timeout
	message := wire.AppendRedeliver(nil, []wire.Redelivery{{Conn: c.Conn, To: c.To, Last: last}})
	if err := r.w.store.Send(ctx, []store.Outgoing{{Server: c.Server, Payload: message}}); err != nil {
		return err
	}
	r.w.metrics.slow.WithLabelValues("redelivered").Inc()
	if !last {
		return errWaits
	}
	r.w.metrics.slow.WithLabelValues("given_up").Inc()
	r.log.Info("giving up a slow client; its gateway closes the connection", "server", c.Server, "conn", c.Conn, "user", c.User, "to", c.To)
	return fmt.Errorf("took nothing for %v, %d tries: closed with 4001: %w", silent.Round(time.Millisecond), tried+1, asynq.SkipRetry)
}

// delay is the pause before the next try; n have failed before this one.
func (r *redeliver) delay(n int, _ error, task *asynq.Task) time.Duration {
	d := backoff(n + 1)
	if c, err := parseChain(task.Payload()); err == nil {
		left := r.w.slow.Timeout - time.Duration(r.w.store.NowMs()-c.Since)*time.Millisecond
		d = min(d, max(left, taskCheck))
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

// asynqLog writes asynq's messages to the worker's log. Its "fatal" ends nothing.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug("task queue", "says", fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Debug("task queue", "says", fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Debug("task queue", "says", fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Warn("task queue", "says", fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Error("task queue", "says", fmt.Sprint(args...)) }
