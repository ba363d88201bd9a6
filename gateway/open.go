package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"sluice/gateway/admit"
	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

// maxOpening is how many connections are opened at once, and half of that how many of one
// user. Opening waits for Redis, and takes a goroutine's stack: ten thousand clients that
// come at once would take ten times the memory that they need from then on. A connection
// that asks for many targets counts for one more for each openTargets of them.
const (
	maxOpening  = 256
	openTargets = 16
)

// newOpeners opens connections whose clients are known, users in turn; each that waits is a socket: the limit of open files bounds them.
func newOpeners(running *sync.WaitGroup) *limits.Pool {
	return limits.NewPool(limits.Bounds{Size: maxOpening, KeySize: maxOpening / 2}, running)
}

// openInTurn opens a connection when it is its turn, and releases its socket. That is held meanwhile: no goroutine waits for
// it, and a client that hangs up before its turn costs none.
func (c *conn) openInTurn(id auth.Identity, asked *asked) {
	c.gw.openers.Go(id.User, int64(1+len(asked.wants)/openTargets), func() {
		if !c.isOver() { // its client may have lost patience, or a drain come first
			c.open(id, asked)
		}
		c.sock.Release()
	})
}

// open makes a connection of a socket whose client is known: sessions, welcome, what
// it has from the start, what it resumes. Each step has its time; what the socket has no
// room for goes on in the background.
func (c *conn) open(id auth.Identity, asked *asked) {
	if age := c.gw.cfg.MaxAge; age > 0 { // the later half of it: who came together does not go together
		c.retireAt = time.Now().Add(age/2 + rand.N(age/2+1))
	}
	c.authorize(id)
	c.device, c.retained, c.since = strings.Clone(asked.device), asked.retained, c.gw.store.NowMs()
	c.Keeps(c.user(), c.device != "", asked.byTime)

	ctx, done := c.Work()
	defer done()
	var err error
	if asked.resume {
		err = c.byCursors(ctx, id.User, asked)
	}
	if err == nil {
		list, more := c.entitled(id, asked.wants)
		asked.mistakes = append(asked.mistakes, more...)
		if c.stream != nil {
			c.stream.begin(list)
		}
		err = c.subscribeFirst(ctx, list, asked)
	}
	if out, kicked := errors.AsType[*admit.KeptOut](err); kicked {
		c.refuse(out.Refusal())
		return
	}
	if errors.Is(err, live.ErrStoodStill) {
		c.refuse(admit.RefusedStill)
		return
	}
	if err != nil && !c.isOver() {
		c.gw.log.Warn("could not open a connection", "conn", c.id, "err", err)
		c.sock.Close(wire.CloseOverloaded, live.TryAgain)
	}
}

// byCursors adds the targets that the device's cursors name. A position that the client
// gave itself counts more.
func (c *conn) byCursors(ctx context.Context, user string, o *asked) error {
	cursors, full, err := c.gw.acks.Cursors(ctx, user, o.device)
	if err != nil {
		return err
	}
	for _, w := range o.wants {
		if _, ok := w.start.Position(); ok {
			delete(cursors, w.target)
		}
	}
	o.wants = append(o.wants, positions(cursors)...)
	if full {
		o.refuse(wire.CodeTooMany, "this user has as many cursors as are kept; some of this device may be missing")
	}
	return nil
}

// subscribeFirst makes the subscriptions of a new connection.
func (c *conn) subscribeFirst(ctx context.Context, list []want, asked *asked) error {
	all := make([]live.Request, len(list))
	for i, w := range list {
		all[i] = live.Request{Target: w.target, Start: w.start, Retained: c.retained, Opening: true, Came: asked.came}
	}
	return c.Subscribe(ctx, all, func(refused []live.Refusal) {
		for _, r := range refused {
			asked.mistakes = append(asked.mistakes, wire.Error{To: r.Target, Code: wire.CodeUnavailable, Message: r.Target + ": " + live.TryAgain})
		}
		c.welcome(asked.mistakes)
	})
}

func (c *conn) welcome(mistakes []wire.Error) {
	c.Tell(wire.Welcome{
		Conn: c.id, Server: c.gw.id, User: c.user(), PingMs: c.gw.cfg.PingInterval.Milliseconds(),
		Limits: c.gw.told(c.maxTargets()),
	})
	c.mu.Lock()
	c.welcomed = true
	c.mu.Unlock()
	c.beginCalls(false) // behind that: if functions take connections only now, either this sees it, or who begins all sees the connection
	for _, m := range mistakes {
		c.gw.metrics.errors.WithLabelValues(m.Code).Inc()
		c.Tell(m)
	}
}

// entitled are the subscriptions of a new connection: those that every one has,
// then what was asked for, as far as well formed and allowed; each target once, the
// last position counts.
func (c *conn) entitled(id auth.Identity, wants []want) (list []want, mistakes []wire.Error) {
	list = []want{{target: wire.UserTarget(id.User)}, {target: wire.All}}
	place := map[string]int{list[0].target: 0, wire.All: 1}
	most := min(c.maxTargets(), c.mayHave())
	for _, w := range wants {
		var code, text string
		i, again := place[w.target]
		switch {
		case w.target == "":
			list[0].start, list[1].start = w.start, w.start
			continue
		case w.bad != "":
			code, text = wire.CodeBadRequest, w.target+": "+w.bad
		case wire.CheckTarget(w.target) != nil:
			code, text = wire.CodeBadRequest, w.target+": "+wire.ErrTarget.Error()
		case !id.CanSubscribe(w.target):
			code, text = wire.CodeForbidden, w.target+": this token does not allow to subscribe to it"
		case again: // it takes no more room
		case len(list) >= most:
			code, text = wire.CodeTooMany, w.target+": more subscriptions than a connection, or its user, may have"
		}
		if code != "" {
			if len(mistakes) < maxMistakes {
				mistakes = append(mistakes, wire.Error{To: admit.Clip(w.target), Code: code, Message: admit.Clip(text)})
			} else if len(mistakes) == maxMistakes {
				mistakes = append(mistakes, wire.Error{Code: code, Message: "more targets were refused than are listed here"})
			}
			continue
		}
		if !again {
			i = len(list)
			place[w.target] = i
			list = append(list, w)
		}
		list[i] = w
	}
	return list, mistakes
}

// maxMistakes bounds the errors that one request or frame can ask for.
const maxMistakes = 50
