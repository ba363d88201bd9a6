package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// second is a type of tasks of a role that there is not. Its file would be what is here.
type second struct {
	tries   atomic.Int32
	patient atomic.Bool   // it does not fail
	tasks   chan *tasks   // with which it begins some
	trying  chan struct{} // where it is: each try waits for one
}

func (s *second) role() role {
	return role{
		name: "second", tasks: []*taskType{s.taskType()},
		parts: func(w *Worker) ([]part, error) {
			s.tasks <- w.tasks
			return nil, nil
		},
	}
}

func (s *second) taskType() *taskType {
	return &taskType{
		name: "redeliver-not", queue: "second", reason: "second_failed", // its name begins like another one's
		letter: func(payload []byte) map[string]string { return map[string]string{"to": "topic:" + string(payload)} },
		handle: func(ctx context.Context, _ *Worker, _ *asynq.Task) error {
			s.tries.Add(1)
			if s.trying != nil {
				<-s.trying
				<-s.trying
			}
			if s.patient.Load() {
				return nil
			}
			return errors.New("second has failed")
		},
		delay: func(*Worker, int, *asynq.Task) time.Duration { return 50 * time.Millisecond },
	}
}

// TestSecondTaskType: another type of tasks is tried in its own way by the same server, and
// what is given up lies among the dead letters beside that of the first type, each with its
// own reason; each can be dropped and requeued.
func TestSecondTaskType(t *testing.T) {
	st := storetest.Open(t, storetest.OnRedis(t).URL, nil)
	w := newWorker(st, Config{Roles: []string{"slow"}, Slow: SlowConfig{Attempts: 1, Timeout: time.Hour}})
	other := &second{tasks: make(chan *tasks, 1)}
	w.roles = append(w.roles, other.role())
	types := taskTypes(w.roles)
	start(t, w.Run)
	if err := (<-other.tasks).begin(t.Context(), types[1], "a task", []byte("x"), asynq.MaxRetry(2)); err != nil {
		t.Fatal(err)
	}
	report := wire.SlowReport{Server: "g", Conn: "CONN", User: "alice", To: "topic:a", State: wire.SlowLagging}
	if err := st.ReportSlow(t.Context(), []wire.SlowReport{report}); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := deadLetters(t.Context(), st, types, args, &out); err != nil {
			t.Errorf("dead %v: %v", args, err)
		}
		return out.String()
	}
	listed := func() (all []string) {
		for line := range strings.Lines(command("list", "-json")) {
			var l store.Buried
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			all = append(all, fmt.Sprint(l.ID, " ", l.Reason, " ", l.Fields["to"], " ", l.Stream))
		}
		return all
	}
	waitListed := func(want ...string) {
		t.Helper()
		storetest.Eventually(t, func() error {
			if got := listed(); !slices.Equal(got, want) {
				return fmt.Errorf("listed are %q, want %q", got, want)
			}
			return nil
		})
	}
	const first, another = "slow:CONN,topic:a too_slow topic:a sluice:slow", "second:a,task second_failed topic:x sluice:second"
	waitListed(first, another)
	if n := other.tries.Load(); n != 3 {
		t.Errorf("it was tried %d times, want 3", n)
	}
	command("requeue", "second:a,task") // once more, and in vain
	storetest.Eventually(t, func() error {
		if n := other.tries.Load(); n != 4 {
			return fmt.Errorf("it was tried %d times, want 4", n)
		}
		return nil
	})
	waitListed(first, another)
	command("drop", "slow:CONN,topic:a")
	waitListed(another)
	other.patient.Store(true)
	command("requeue", "all")
	waitListed()
	for _, id := range []string{"second:a,task", "slow:CONN,topic:a"} {
		err := deadLetters(t.Context(), st, types, []string{"drop", id}, &bytes.Buffer{})
		if !errors.Is(err, store.ErrNoDeadLetter) {
			t.Errorf("dropped what is not there: %v", err)
		}
	}
}

// TestUnknownTask: a task that somebody else has put into a queue is given up at once, also
// when its name begins like a type's.
func TestUnknownTask(t *testing.T) {
	st := storetest.Open(t, storetest.OnRedis(t).URL, nil)
	w := newWorker(st, Config{Roles: []string{"slow"}})
	start(t, w.Run)
	client := asynq.NewClient(st.Tasks())
	defer func() { _ = client.Close() }()
	if _, err := client.Enqueue(asynq.NewTask("redelivery", nil), asynq.Queue("sluice:slow"), asynq.TaskID("x")); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, func() error {
		var out bytes.Buffer
		err := deadLetters(t.Context(), st, taskTypes(roles()), []string{"list"}, &out)
		if err == nil && !strings.Contains(out.String(), "there is no type of tasks") {
			err = fmt.Errorf("listed is %s", out.String())
		}
		return err
	})
}

// TestTasksEndWithoutRedis: a worker ends in time, though Redis answers none of asynq's last
// words, and a try is under way.
func TestTasksEndWithoutRedis(t *testing.T) {
	server := storetest.Redis(t)
	st := storetest.Open(t, server.URL(), nil)
	w := newWorker(st, Config{})
	other := &second{tasks: make(chan *tasks, 1), trying: make(chan struct{})}
	w.roles = append(w.roles, other.role())
	ended := make(chan time.Time, 1)
	stop := start(t, func(ctx context.Context) error {
		err := w.Run(ctx)
		ended <- time.Now()
		return err
	})
	if err := (<-other.tasks).begin(t.Context(), other.taskType(), "a task", nil); err != nil {
		t.Fatal(err)
	}
	other.trying <- struct{}{}
	defer close(other.trying)
	server.Pause()
	defer server.Resume()
	begin := time.Now()
	stop()
	if took := (<-ended).Sub(begin); took > 15*time.Second { // 9 s, or 18 s with all that asynq says
		t.Errorf("it ended after %v", took)
	}
}

// TestTaskTypes: queues, names and reasons are one type's alone, and can stand in a dead
// letter's id.
func TestTaskTypes(t *testing.T) {
	seen := make(map[string]bool)
	for _, of := range taskTypes(roles()) {
		for _, mark := range []string{"queue " + of.queue, "name " + of.name, "reason " + of.reason} {
			if seen[mark] {
				t.Errorf("two types have the %s", mark)
			}
			seen[mark] = true
		}
		if of.queue == "" || strings.ContainsAny(of.queue, ":{} ") {
			t.Errorf("the queue's name is %q", of.queue)
		}
		if of.letter(nil) == nil {
			t.Errorf("a task %s with a broken payload has no fields", of.name)
		}
	}
}
