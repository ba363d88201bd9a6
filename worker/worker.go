package worker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"sluice/shared/store"
	"sluice/worker/functions"
)

// A part is something that a worker does all the time.
type part interface {
	// run works until ctx ends, finishes what it has begun, and returns nil. An error ends the
	// worker. It survives Redis being away.
	run(ctx context.Context) error
}

type partFunc func(ctx context.Context) error

func (f partFunc) run(ctx context.Context) error { return f(ctx) }

// A role is work that a worker may be chosen for, by SLUICE_ROLES.
type role struct {
	name  string
	owns  bool        // partitions
	reads store.Work  // what waits for it, besides tasks
	tasks []*taskType // that it works on; another type is a file, and its name here
	parts func(w *Worker) ([]part, error)
}

// Worker is one worker of an installation.
type Worker struct {
	store     *store.Store
	id        string
	log       *slog.Logger
	metrics   *metrics
	share     *share // of the partitions
	callShare *share // of their calls
	apart     *apart
	room      *room
	badKeys   *badKeys
	unread    *unread
	threads   bool
	acks      AckConfig
	slow      SlowConfig
	functions functions.Config
	roles     []role
	tasks     *tasks // of its roles

	activity  *activity
	drains    bool
	drainIdle time.Duration
	leave     context.CancelFunc // ends Run; set by it
	// misfit says why it cannot run.
	misfit error
	// remembered: targets of a partition whose newest event is known without a look.
	remembered int
	// gateways that live, as of a second ago.
	gateways atomic.Pointer[[]string]
}

// owns says whether this worker may own partitions.
func (w *Worker) owns() bool {
	return slices.ContainsFunc(w.roles, func(r role) bool { return r.owns })
}

// calls says whether this worker calls functions.
func (w *Worker) calls() bool {
	return slices.ContainsFunc(w.roles, func(r role) bool { return r.name == functionsRole.name })
}

// together are the partitions that one command can read: all, or on a Cluster each by
// itself.
func (w *Worker) together() [][]int {
	all := make([]int, w.store.Config().Partitions)
	for p := range all {
		all[p] = p
	}
	if !w.store.PerPartition() {
		return [][]int{all}
	}
	sets := make([][]int, len(all))
	for p := range all {
		sets[p] = all[p : p+1]
	}
	return sets
}

// taskType is a type of tasks. Each has a queue of its own: a worker gets only those of its
// roles, and never one that it does not know, as while a newer version is rolled out.
type taskType struct {
	name   string // of the tasks
	queue  string // behind the prefix; no colon is in it
	reason string // why a task that was given up is a dead letter

	// letter is what a payload says in the fields of a dead letter.
	letter func(payload []byte) map[string]string
	// handle is one try. An error means that it is tried again after delay, as often as was
	// said when it was begun; asynq.SkipRetry gives it up, and the handler says so itself.
	handle func(ctx context.Context, w *Worker, task *asynq.Task) error
	// delay is the pause after a try; n have failed before it.
	delay func(w *Worker, n int, task *asynq.Task) time.Duration
}

// streamName is a partition, its calls, or the intake, as people read it.
func (w *Worker) streamName(partition int) string {
	if partition == store.Intake {
		return "intake"
	}
	if n := w.store.Config().Partitions; partition >= n {
		return fmt.Sprintf("calls of partition %d", partition-n)
	}
	return fmt.Sprintf("partition %d", partition)
}
