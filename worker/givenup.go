package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hibiken/asynq"

	"sluice/shared/store"
)

// givenUp are the slow clients that were given up: asynq's archive of redeliveries, as
// dead letters. Their ids begin with a mark that no stream's id has.
type givenUp struct {
	queue   string
	inspect *asynq.Inspector
}

const (
	givenUpMark   = "slow:"
	givenUpReason = "too_slow"
)

func newGivenUp(st *store.Store) *givenUp {
	at := st.Tasks()
	return &givenUp{at.Queue(), asynq.NewInspector(at)}
}

func (g *givenUp) close() { _ = g.inspect.Close() }

// each calls back for all, which must not change them.
func (g *givenUp) each(do func(store.Buried) error) error {
	const page = 100
	for n := 1; ; n++ {
		tasks, err := g.inspect.ListArchivedTasks(g.queue, asynq.Page(n), asynq.PageSize(page))
		if errors.Is(err, asynq.ErrQueueNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot list the slow clients that were given up: %w", err)
		}
		for _, t := range tasks {
			c, _ := parseChain(t.Payload)
			err := do(store.Buried{
				ID: givenUpID(t.ID), Reason: givenUpReason, Stream: g.queue, Entry: t.ID,
				Fields: map[string]string{"to": c.To, "user": c.User, "conn": c.Conn, "server": c.Server, "after": c.After,
					"data": strings.TrimSpace(c.User + " " + t.LastErr)},
			})
			if err != nil {
				return err
			}
		}
		if len(tasks) < page {
			return nil
		}
	}
}

// givenUpID is a task's id without its space, so that it is one word for a shell.
func givenUpID(task string) string { return givenUpMark + strings.Replace(task, " ", ",", 1) }

// or chooses between two changes by the id.
func (g *givenUp) or(mine func(task string) error, other func(context.Context, string) error) func(context.Context, string) error {
	return func(ctx context.Context, id string) error {
		task, ok := strings.CutPrefix(id, givenUpMark)
		if !ok {
			return other(ctx, id)
		}
		err := mine(strings.Replace(task, ",", " ", 1))
		if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
			return fmt.Errorf("%w: %s", store.ErrNoDeadLetter, id)
		}
		return err
	}
}

func (g *givenUp) drop(task string) error  { return g.inspect.DeleteTask(g.queue, task) }
func (g *givenUp) again(task string) error { return g.inspect.RunTask(g.queue, task) }
