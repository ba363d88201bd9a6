package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hibiken/asynq"

	"sluice/shared/store"
)

// givenUp are the tasks that were given up, of each type: asynq's archives, as dead letters.
// Their ids begin with the name of their queue and a colon, which no stream's id has.
type givenUp struct {
	at      store.Tasks
	types   []*taskType
	inspect *asynq.Inspector
}

func newGivenUp(st *store.Store, types []*taskType) *givenUp {
	at := st.Tasks()
	return &givenUp{at, types, asynq.NewInspector(at)}
}

func (g *givenUp) close() { _ = g.inspect.Close() }

// each calls back for all, which must not change them.
func (g *givenUp) each(do func(store.Buried) error) error {
	for _, of := range g.types {
		if err := g.eachOf(of, do); err != nil {
			return err
		}
	}
	return nil
}

func (g *givenUp) eachOf(of *taskType, do func(store.Buried) error) error {
	const page = 100
	queue := g.at.Queue(of.queue)
	for n := 1; ; n++ {
		tasks, err := g.inspect.ListArchivedTasks(queue, asynq.Page(n), asynq.PageSize(page))
		if errors.Is(err, asynq.ErrQueueNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot list the tasks %s that were given up: %w", of.name, err)
		}
		for _, t := range tasks {
			fields := of.letter(t.Payload)
			fields["data"] = strings.TrimSpace(fields["data"] + " " + t.LastErr)
			err := do(store.Buried{ID: letterID(of, t.ID), Reason: of.reason, Stream: queue, Entry: t.ID, Fields: fields})
			if err != nil {
				return err
			}
		}
		if len(tasks) < page {
			return nil
		}
	}
}

// letterID is a task's id without spaces, so that it is one word for a shell.
func letterID(of *taskType, task string) string {
	return of.queue + ":" + strings.ReplaceAll(task, " ", ",")
}

// or chooses between two changes by the id.
func (g *givenUp) or(mine func(queue, task string) error, other func(context.Context, string) error) func(context.Context, string) error {
	return func(ctx context.Context, id string) error {
		name, task, _ := strings.Cut(id, ":")
		for _, of := range g.types {
			if of.queue != name {
				continue
			}
			queue, task := g.at.Queue(of.queue), strings.ReplaceAll(task, ",", " ")
			info, err := g.inspect.GetTaskInfo(queue, task)
			if err == nil && info.State != asynq.TaskStateArchived { // it is alive, again
				err = asynq.ErrTaskNotFound
			}
			if err == nil {
				err = mine(queue, task)
			}
			if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
				return fmt.Errorf("%w: %s", store.ErrNoDeadLetter, id)
			}
			return err
		}
		return other(ctx, id)
	}
}
