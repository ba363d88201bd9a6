package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/hibiken/asynq"

	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
	"sluice/worker/functions"
)

// effect does what a function has answered, and then finishes the event: so all of it may be done again, without a second
// effect.
func (c *calls) effect(ctx context.Context, p int, e *callEvent, a *functions.Answer) error {
	if err := c.publish(ctx, e, a.Publish); err != nil {
		return err
	}
	if !e.call.OfConnection() {
		return c.effectApart(ctx, p, e, a)
	}
	var orders []wire.Order
	order := func(what byte, targets []string) {
		for _, to := range targets {
			switch {
			case wire.CheckTarget(to) != nil:
				c.refused(e, "subscribe", "it names no target")
				continue
			case wire.IsUser(to) && to != wire.UserTarget(e.call.User): // as with every token
				c.refused(e, "subscribe", "it is another user's")
				continue
			}
			orders = append(orders, wire.Order{What: what, Text: to})
		}
	}
	order(wire.OrderUnsubscribe, a.Unsubscribe) // first: it makes room
	order(wire.OrderSubscribe, a.Subscribe)
	if e.call.Kind == wire.CallKind {
		orders = append(orders, wire.Order{What: wire.OrderReply, Text: string(a.Reply)})
	}
	if a.Close != nil {
		orders = append(orders, wire.Order{What: wire.OrderClose, Number: uint64(max(0, a.Close.Code)), Text: a.Close.Reason})
	}
	if len(orders) > 0 {
		if err := c.order(ctx, e, orders...); err != nil {
			return err
		}
	}
	return c.finish(ctx, p, e, store.StateChange{Set: string(a.State)})
}

// effectApart does what is left of an answer to what is of no connection. That to a call is kept before it is told: so who asks
// again gets the same.
func (c *calls) effectApart(ctx context.Context, p int, e *callEvent, a *functions.Answer) error {
	for what, has := range map[string]bool{"subscribe": len(a.Subscribe)+len(a.Unsubscribe) > 0, "close": a.Close != nil} {
		if has {
			c.refused(e, what, "there is no connection")
		}
	}
	if e.call.Kind != wire.CallKind {
		return c.finish(ctx, p, e, store.StateChange{})
	}
	reply := string(a.Reply)
	first, err := c.w.store.FinishCall(ctx, p, e.ID, &e.call, store.StateChange{Answer: &reply})
	if err != nil || !first {
		return err
	}
	if err := c.order(ctx, e, wire.Order{What: wire.OrderReply, Text: reply}); err != nil {
		c.w.log.Debug("cannot tell an answer; its gateway looks for it", "id", e.call.ID, "err", err)
	}
	return nil
}

// publish appends what a function publishes. Their idempotency keys come from the event's id, so a repeat has no effect.
func (c *calls) publish(ctx context.Context, e *callEvent, events []functions.Event) error {
	var list []store.Publication
	for i, x := range events {
		fields := map[string]any{"to": x.To, "data": string(x.Data), "event": x.Event, "except": x.Except, "unread": x.Unread}
		if x.Data == nil {
			delete(fields, "data")
		}
		if x.Retain.Off {
			fields["retain"] = "0"
		}
		if _, reason := wire.ParseEntry(wire.ID{}, fields, c.w.store.Config().MaxData); reason != "" {
			c.refused(e, "publish", reason)
			continue
		}
		p := store.Publication{To: x.To, Fields: []string{"to", x.To, "data", string(x.Data), "id", publishKey(e.call.ID, i)}}
		for _, f := range [][2]string{{"event", x.Event}, {"except", x.Except}, {"traceparent", e.call.Trace}, {"unread", x.Unread}} {
			if f[1] != "" {
				p.Fields = append(p.Fields, f[0], f[1])
			}
		}
		if x.Retain.Off {
			p.Fields = append(p.Fields, "retain", "0")
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil
	}
	for _, err := range c.w.store.Publish(ctx, list) {
		if err != nil {
			return err
		}
	}
	return nil
}

// refused counts an item of an answer that cannot be done; the others are.
func (c *calls) refused(e *callEvent, what, why string) {
	c.w.metrics.functionItems.WithLabelValues(what).Inc()
	c.w.log.Warn("a function asked for something that cannot be done; the rest of its answer was", "id", e.call.ID, "what", what, "why", why)
}

// functionDue is a task that says that an event for functions is to be tried again. asynq keeps the time, also through the
// deaths of workers; the try is made by whoever owns the partition's calls then.
var functionDue = &taskType{
	name: "function", queue: "functions", reason: wire.ReasonFunction,
	letter: dueLetter, handle: dueTry, delay: func(*Worker, int, *asynq.Task) time.Duration { return time.Second },
}

// dueTask is its payload.
type dueTask struct {
	Partition int    `json:"partition"`
	Of        string `json:"of"`
	Tries     int    `json:"tries"`
	Since     uint64 `json:"since"`
}

func dueID(partition int, id wire.ID) string { return strconv.Itoa(partition) + " " + id.String() }

func dueLetter(payload []byte) map[string]string { return map[string]string{"data": string(payload)} }

func dueTry(ctx context.Context, w *Worker, task *asynq.Task) error {
	var t dueTask
	err := json.Unmarshal(task.Payload(), &t)
	of, bad := wire.ParseID(t.Of)
	if err != nil || bad != nil || t.Partition < 0 || t.Partition >= w.store.Config().Partitions {
		return fmt.Errorf("not an event for functions: %w", asynq.SkipRetry)
	}
	return w.store.AddDue(ctx, t.Partition, wire.Due{Of: of, Tries: t.Tries, Since: t.Since})
}

const (
	callFirst = time.Second
	callMost  = 5 * time.Minute
	// dueTries is how often a task tries to say that something is due: as long as Redis takes.
	dueTries = 100_000
)

// callBackoff doubles from a second to five minutes, and adds up to a half by chance.
func callBackoff(tries int) time.Duration {
	d := min(callMost, callFirst<<min(tries, 20))
	return d + rand.N(d/2+1)
}

// failed decides what follows a failed attempt: another one, later, or a dead letter.
func (c *calls) failed(ctx context.Context, l *line, p int, e *callEvent, out *functions.Outcome) (done bool, err error) {
	now := uint64(c.w.store.NowMs())
	if !out.Rested {
		c.count(e, "failed", out.Took)
		if e.since == 0 {
			e.since = now
		}
		e.tries++
		c.w.log.Warn("a function failed", "kind", e.call.Kind, "id", e.call.ID, "tries", e.tries, "status", out.Status, "err", out.Err)
	}
	if out.Broke {
		c.w.log.Error("a function fails again and again; it is left alone for a while", "kind", e.call.Kind, "err", out.Err)
	}
	wait := max(callBackoff(max(0, e.tries-1)), out.After)
	if out.Rested {
		wait = out.After
	}
	switch {
	case out.Gone:
		return true, c.bury(ctx, p, e, out, wire.ReasonFunctionGone)
	case e.since != 0 && now+uint64(wait.Milliseconds()) > e.since+uint64(c.w.functions.RetryFor.Milliseconds()):
		reason := wire.ReasonFunction
		if out.Status/100 == 2 {
			reason = wire.ReasonFunctionAnswer
		}
		return true, c.bury(ctx, p, e, out, reason)
	}
	payload, err := json.Marshal(dueTask{p, e.ID.String(), e.tries, e.since})
	if err != nil {
		return false, err
	}
	in := asynq.ProcessIn(wait + time.Second) // it counts in whole seconds, and is early by up to one
	for {
		c.await(l, e) // before it may be due
		if err := c.w.tasks.begin(ctx, functionDue, dueID(p, e.ID), payload, in, asynq.MaxRetry(dueTries)); err != nil {
			if !c.resume(l, e) {
				return false, nil
			}
			return false, err
		}
		// The task that said that this attempt was due may not have ended: then there is no other one yet, and nobody would say it again.
		is, err := c.w.tasks.state(functionDue, dueID(p, e.ID))
		if err == nil && is == taskWaits || !c.resume(l, e) {
			return false, nil
		}
		ops.Pause(ctx, callRetry)
	}
}

// bury makes an event a dead letter, with what the function answered last, and tells who waits.
func (c *calls) bury(ctx context.Context, p int, e *callEvent, out *functions.Outcome, reason string) error {
	entry := e.Entry
	entry.Fields = make(map[string]any, len(e.Fields)+3)
	for name, value := range e.Fields {
		entry.Fields[name] = value
	}
	entry.Fields["to"] = wire.UserTarget(e.call.User)
	entry.Fields["status"], entry.Fields["answer"] = strconv.Itoa(out.Status), out.Body
	entry.Fields["error"] = out.Err.Error()
	letters := []store.DeadLetter{{Entry: entry, Reason: reason}}
	if err := c.w.bury(ctx, letters); err != nil {
		return err
	}
	c.count(e, "dead", 0)
	return c.refuse(ctx, p, e, wire.CodeUnavailable, "")
}

// publishKey is the idempotency key of what an event's answer publishes, no longer than keys may be.
func publishKey(id string, i int) string {
	if sum := sha256.Sum256([]byte(id)); len(id) > 200 {
		id = hex.EncodeToString(sum[:])
	}
	return "function:" + id + ":" + strconv.Itoa(i)
}
