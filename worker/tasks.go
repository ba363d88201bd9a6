package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"sluice/shared/ops"
)

const (
	// The tasks have few goroutines, and connections of their own (store.Tasks): however
	// many there are, the fan-out does not wait for them.
	tasksAtOnce = 8
	taskCheck   = 100 * time.Millisecond // how often asynq looks for what is due
	tasksLook   = time.Second            // how often a worker looks whether there are tasks
	noTasksFor  = 10 * time.Second       // then asynq's server ends
	tasksEnd    = 2 * time.Second        // what tries under way get to end
	taskLooks   = 10                     // how often it is looked whether a try has ended, at least
	taskLook    = 20 * time.Millisecond  // the pause between two of these
	lastWords   = time.Second            // and asynq's server after that, to say so to Redis
)

// tasks are the tasks of this worker's roles, in asynq: one server for all types.
type tasks struct {
	w       *Worker
	types   map[string]*taskType // by name
	queues  []string             // of the types
	client  *asynq.Client
	inspect *asynq.Inspector
	begun   chan struct{} // has one when a task was begun since the last pause
}

func newTasks(w *Worker) *tasks {
	at := w.store.Tasks()
	t := &tasks{w: w, types: make(map[string]*taskType), begun: make(chan struct{}, 1)}
	for _, of := range taskTypes(w.roles) {
		t.types[of.name] = of
		t.queues = append(t.queues, of.queue)
	}
	if len(t.queues) > 0 {
		t.client, t.inspect = asynq.NewClient(at), asynq.NewInspector(at)
	}
	return t
}

// newServer makes asynq's part that works on tasks. Its connections to Redis end with ctx.
func (t *tasks) newServer(ctx context.Context) *asynq.Server {
	at := t.w.store.Tasks().Until(ctx)
	queues := make(map[string]int)
	for _, queue := range t.queues {
		queues[at.Queue(queue)] = 1
	}
	return asynq.NewServer(at, asynq.Config{
		Concurrency: tasksAtOnce, Queues: queues,
		TaskCheckInterval: taskCheck, DelayedTaskCheckInterval: taskCheck,
		JanitorInterval: time.Hour, // it removes completed tasks, and none is kept
		RetryDelayFunc:  t.delay,
		ShutdownTimeout: tasksEnd,
		Logger:          asynqLog{t.w.log},
		LogLevel:        asynq.WarnLevel,
	})
}

// run works on tasks until ctx ends. A server of asynq runs while there are some: it asks Redis
// 70 times a second what is due.
func (t *tasks) run(ctx context.Context) error {
	if len(t.queues) == 0 {
		return nil
	}
	defer func() { _ = errors.Join(t.client.Close(), t.inspect.Close()) }()
	for ; ctx.Err() == nil; t.pause(ctx) {
		if some, err := t.w.store.TasksWait(ctx, t.queues...); err != nil || !some {
			continue
		}
		if err := t.serve(ctx); err != nil {
			return err
		}
	}
	return nil
}

// serve works on tasks until there have been none for a while.
func (t *tasks) serve(ctx context.Context) error {
	sends, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := t.newServer(sends)
	if err := server.Start(asynq.HandlerFunc(t.handle)); err != nil {
		return fmt.Errorf("cannot start the task queue: %w", err)
	}
	defer func() {
		defer time.AfterFunc(tasksEnd+lastWords, cut).Stop()
		server.Shutdown() // waits for the tries under way
	}()
	for last := time.Now(); ctx.Err() == nil && time.Since(last) < noTasksFor; t.pause(ctx) {
		if some, err := t.w.store.TasksWait(ctx, t.queues...); err != nil || some { // what is not known counts as some
			last = time.Now()
		}
	}
	return nil
}

// pause waits for the next look, or until this worker begins a task.
func (t *tasks) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-t.begun:
	case <-time.After(tasksLook):
	}
}

// handle gives a task to its type. asynq's own mux takes names that only begin like a
// type's, and would try an unknown one again and again.
func (t *tasks) handle(ctx context.Context, task *asynq.Task) error {
	of := t.types[task.Type()]
	if of == nil {
		return fmt.Errorf("there is no type of tasks %q: %w", task.Type(), asynq.SkipRetry)
	}
	t.w.activity.note()
	err := of.handle(ctx, t.w, task)
	if err != nil && !errors.Is(err, asynq.SkipRetry) {
		tried, _ := asynq.GetRetryCount(ctx)
		if most, ok := asynq.GetMaxRetry(ctx); ok && tried >= most {
			id, _ := asynq.GetTaskID(ctx)
			t.w.log.Warn("gives a task up: its last try failed; it is among the dead letters", "type", of.name, "task", id, "err", err)
		}
	}
	return err
}

func (t *tasks) delay(n int, err error, task *asynq.Task) time.Duration {
	if of := t.types[task.Type()]; of != nil {
		return of.delay(t.w, n, task)
	}
	return asynq.DefaultRetryDelayFunc(n, err, task)
}

// begin starts a task, unless one of its id is alive. One that was given up makes room for it, and so does one that ends just now:
// one that is being worked on is looked at again for a moment. There is no comma in an id (givenup.go).
func (t *tasks) begin(ctx context.Context, of *taskType, id string, payload []byte, opts ...asynq.Option) error {
	queue := t.w.store.Tasks().Queue(of.queue)
	opts = append(opts, asynq.Queue(queue), asynq.TaskID(id))
	for try, looks := 0, 0; ; try++ {
		_, err := t.client.EnqueueContext(ctx, asynq.NewTask(of.name, payload), opts...)
		if err == nil {
			select {
			case t.begun <- struct{}{}:
			default:
			}
		}
		if !errors.Is(err, asynq.ErrTaskIDConflict) || try == 3 {
			return err
		}
		info, err := t.inspect.GetTaskInfo(queue, id)
		switch {
		case errors.Is(err, asynq.ErrQueueNotFound):
			if err := t.w.store.AddQueue(ctx, of.queue); err != nil {
				return err
			}
		case errors.Is(err, asynq.ErrTaskNotFound): // just ended
		case err == nil && info.State == asynq.TaskStateArchived:
			if err := t.end(ctx, of, id); err != nil {
				return err
			}
		case err == nil && info.State == asynq.TaskStateActive && looks < taskLooks && ctx.Err() == nil:
			try, looks = try-1, looks+1
			ops.Pause(ctx, taskLook)
		default: // it is alive, or what is left of it cannot be read
			lost, failed := t.w.store.DropLostTask(ctx, of.queue, id)
			if lost {
				continue
			}
			if err = errors.Join(err, failed); err != nil {
				return fmt.Errorf("cannot look at a task %s: %w", of.name, err)
			}
			return nil
		}
	}
}

// taskState is what becomes of a task.
type taskState byte

const (
	taskOver     taskState = iota // it is not worked on any more
	taskWaits                     // it will be worked on
	taskUnderWay                  // it is being worked on
)

// state tells what becomes of a task.
func (t *tasks) state(of *taskType, id string) (taskState, error) {
	info, err := t.inspect.GetTaskInfo(t.w.store.Tasks().Queue(of.queue), id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound):
		return taskOver, nil
	case err != nil:
		return taskOver, fmt.Errorf("cannot look at a task %s: %w", of.name, err)
	case info.State == asynq.TaskStateActive:
		return taskUnderWay, nil
	case info.State == asynq.TaskStateArchived || info.State == asynq.TaskStateCompleted:
		return taskOver, nil
	}
	return taskWaits, nil
}

// end ends a task. One that is being worked on cannot be deleted: it waits for that a few
// times.
func (t *tasks) end(ctx context.Context, of *taskType, id string) error {
	queue := t.w.store.Tasks().Queue(of.queue)
	for try := 0; ; try++ {
		err := t.inspect.DeleteTask(queue, id)
		switch {
		case err == nil || errors.Is(err, asynq.ErrTaskNotFound):
			return nil
		case errors.Is(err, asynq.ErrQueueNotFound) && try == 0:
			if err := t.w.store.AddQueue(ctx, of.queue); err != nil {
				return err
			}
		case try == 5:
			return fmt.Errorf("cannot end a task %s: %w", of.name, err)
		default:
			if lost, err := t.w.store.DropLostTask(ctx, of.queue, id); lost || err != nil {
				return err
			}
			ops.Pause(ctx, 20*time.Millisecond)
		}
	}
}

// asynqLog writes asynq's messages to the worker's log. Its "fatal" ends nothing.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug("task queue", "says", fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Debug("task queue", "says", fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Debug("task queue", "says", fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Warn("task queue", "says", fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Error("task queue", "says", fmt.Sprint(args...)) }
