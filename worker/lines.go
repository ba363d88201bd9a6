package worker

import (
	"context"
	"errors"
	"time"

	"sluice/shared/ops"
	"sluice/shared/wire"
	"sluice/worker/functions"
)

// add puts an event at the end of its line. c.mu is held.
func (c *calls) add(e *callEvent) {
	r := c.terms[e.Partition]
	if r == nil {
		return // the term is over; the next one reads it again
	}
	e.tried = !r.seen.Less(e.ID)
	r.count(e, 1)
	key := lineKey{e.Partition, lineOf(&e.call)}
	c.held, c.bytes = c.held+1, c.bytes+e.Size()
	if l := c.lines[key]; l != nil {
		l.events = append(l.events, e)
		return
	}
	l := &line{key: key, term: r, events: []*callEvent{e}}
	c.lines[key] = l
	c.start(l)
}

// due lets an event be tried again for which a line waits. c.mu is held.
func (c *calls) due(e *callEvent) {
	key := eventKey{e.Partition, e.call.Due.Of}
	l := c.waiting[key]
	if l == nil { // it is finished, or under way
		return
	}
	delete(c.waiting, key)
	first := l.events[0]
	first.tries, first.since, first.tried = e.call.Due.Tries, e.call.Due.Since, false
	c.start(l)
}

// start works on a line from its first event on. c.mu is held.
func (c *calls) start(l *line) {
	first := l.events[0]
	c.wg.Go(func() {
		for e := first; e != nil; e = c.next(l, e) {
			if !c.do(l, e) {
				return
			}
		}
	})
}

// next takes the first event of a line off, and gives the one behind it; nil: there is none, or the term is over.
func (c *calls) next(l *line, done *callEvent) *callEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines[l.key] != l {
		return nil
	}
	l.events = l.events[1:]
	c.finished = append(c.finished, done.Entry)
	c.bytes -= done.Size()
	l.term.count(done, -1)
	if len(l.events) == 0 {
		delete(c.lines, l.key)
		return nil
	}
	return l.events[0]
}

// do works on the first event of a line until it is finished: true; false: it waits for a task, or the term is over.
func (c *calls) do(l *line, e *callEvent) bool {
	ctx, failing := l.term.ctx, false
	for ctx.Err() == nil {
		done, err := c.try(ctx, l, e)
		if err == nil {
			return done
		}
		if !failing && ctx.Err() == nil {
			c.w.log.Warn("cannot work on an event for functions; retrying", "id", e.call.ID, "user", e.call.User, "err", err)
		}
		failing = true
		ops.Pause(ctx, callRetry)
	}
	return false
}

// waits lets a line wait for the task of an earlier attempt, if that will say when the event is due; or it was due meanwhile, or the
// term is over. A task that is under way may have said it before the line waited: what becomes of it is seen a moment later.
func (c *calls) waits(ctx context.Context, l *line, p int, e *callEvent) (bool, error) {
	for {
		c.await(l, e)
		is, err := c.w.tasks.state(functionDue, dueID(p, e.ID))
		if err == nil && is == taskWaits || !c.resume(l, e) {
			return true, nil
		}
		if err != nil || is == taskOver {
			return false, err
		}
		ops.Pause(ctx, callRetry)
	}
}

// try makes one attempt, and does what follows from it. An error is one of Redis: all of it may be done again.
func (c *calls) try(ctx context.Context, l *line, e *callEvent) (done bool, err error) {
	p := l.key.partition - c.w.store.Config().Partitions
	if e.tried {
		if waits, err := c.waits(ctx, l, p, e); waits || err != nil {
			return false, err
		}
	}
	state, there, err := c.w.store.CallState(ctx, p, e.ID, &e.call)
	if err != nil || !there { // somebody has finished it
		return !there, err
	}
	known := functions.Known{State: state}
	if e.call.Kind == wire.UnreadKind {
		if known.Event, err = c.w.store.Event(ctx, wire.UserTarget(e.call.User), e.call.Event); err != nil {
			return false, err
		}
	}
	out, err := c.caller.Attempt(ctx, &e.call, known, time.UnixMilli(int64(e.ID.Ms)))
	switch {
	case errors.Is(err, functions.ErrNoFunction):
		c.count(e, "no_function", 0)
		return true, c.refuse(ctx, p, e, wire.CodeBadRequest, "there is no function for this call")
	case err != nil:
		return false, err
	case out.Answer != nil:
		c.count(e, "done", out.Took)
		return true, c.effect(ctx, p, e, out.Answer)
	}
	return c.failed(ctx, l, p, e, out)
}
