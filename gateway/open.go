package gateway

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"sluice/gateway/auth"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// start is where a subscription begins.
type start struct {
	kind startKind
	id   wire.ID
}

type startKind byte

const (
	startNow      startKind = iota
	startOwn                // after an id of this very target
	startBare               // after another target's id: a time
	startEarliest           // with all that is retained
)

// want is a subscription that a client asks for. An empty target stands for those
// that every connection has.
type want struct {
	target   string
	ref      string
	start    start
	retained bool      // on_gap
	bad      string    // why the position cannot be used
	opening  bool      // of a connection that opens
	moves    bool      // a subscription that is there
	asked    time.Time // when
}

// positions are the wants of a resume or a cursor, in a fixed order.
func positions(p map[string]string) []want {
	wants := make([]want, 0, len(p))
	for target, text := range p {
		w := want{target: strings.Clone(target), start: start{kind: startOwn}}
		var err error
		if w.start.id, err = wire.ParseID(text); err != nil {
			w.bad = err.Error()
		}
		if err = wire.CheckTarget(target); err != nil {
			w.bad = err.Error()
		}
		wants = append(wants, w)
	}
	slices.SortFunc(wants, func(a, b want) int { return cmp.Compare(a.target, b.target) })
	return wants
}

// open makes a connection of a socket whose client is known: sessions, welcome, what
// it has from the start, what it resumes. Each step has its time; what the socket has no
// room for goes on in the background.
func (c *conn) open(id auth.Identity, asked *asked) {
	if age := c.gw.cfg.MaxAge; age > 0 { // the later half of it: who came together does not go together
		c.retireAt = time.Now().Add(age/2 + rand.N(age/2+1))
	}
	c.authorize(id)
	c.device, c.byTime, c.retained = strings.Clone(asked.device), asked.byTime, asked.retained

	ctx, done := c.work()
	defer done()
	var err error
	if asked.resume {
		err = c.byCursors(ctx, id.User, asked)
	}
	if err == nil {
		list, more := c.entitled(id, asked.wants)
		asked.mistakes = append(asked.mistakes, more...)
		err = c.subscribeFirst(ctx, list, asked.mistakes)
	}
	if err != nil && !c.isOver() {
		c.gw.log.Warn("could not open a connection", "conn", c.id, "err", err)
		c.sock.Close(wire.CloseOverloaded, tryAgain)
	}
}

// tryAgain is what clients are told of a failure that is not theirs.
const tryAgain = "not possible now; try again"

// subscribeFirst makes the subscriptions of a new connection.
func (c *conn) subscribeFirst(ctx context.Context, list []want, mistakes []wire.Error) error {
	for i := range list {
		list[i].opening, list[i].retained, list[i].asked = true, c.retained, time.Now()
	}
	replays, refused, err := c.enroll(ctx, list)
	if err != nil {
		return err
	}
	c.welcome(append(mistakes, refused...))
	if c.byTime {
		return c.feed(ctx, replays...)
	}
	for len(replays) > 0 {
		n := min(len(replays), feedTargets)
		if err := c.feed(ctx, replays[:n]...); err != nil {
			return err
		}
		replays = replays[n:]
	}
	return nil
}

func (c *conn) welcome(mistakes []wire.Error) {
	data := c.gw.cfg.Store.MaxData
	c.send(wire.Welcome{
		Conn: c.id, Server: c.gw.id, User: c.user(), PingMs: c.gw.cfg.PingInterval.Milliseconds(),
		Limits: wire.Limits{MaxData: data, MaxMessage: data + maxMessage, MaxTargets: c.gw.cfg.MaxTargets},
	})
	c.mu.Lock()
	c.welcomed = true
	c.mu.Unlock()
	for _, m := range mistakes {
		c.gw.metrics.errors.WithLabelValues(m.Code).Inc()
		c.send(m)
	}
}

// entitled are the subscriptions of a new connection: those that every one has,
// then what was asked for, as far as well formed and allowed; each target once, the
// last position counts.
func (c *conn) entitled(id auth.Identity, wants []want) (list []want, mistakes []wire.Error) {
	list = []want{{target: wire.UserTarget(id.User)}, {target: wire.All}}
	place := map[string]int{list[0].target: 0, wire.All: 1}
	for _, w := range wants {
		var code, text string
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
		case len(list) >= c.gw.cfg.MaxTargets:
			code, text = wire.CodeTooMany, w.target+": more subscriptions than a connection may have"
		}
		if code != "" {
			if len(mistakes) < maxMistakes {
				mistakes = append(mistakes, wire.Error{Code: code, Message: clip(text)})
			} else if len(mistakes) == maxMistakes {
				mistakes = append(mistakes, wire.Error{Code: code, Message: "more targets were refused than are listed here"})
			}
			continue
		}
		i, again := place[w.target]
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

// clip keeps what a client sent from coming back at length.
func clip(s string) string {
	const limit = 400
	if len(s) > limit {
		return s[:limit]
	}
	return s
}

// enroll subscribes: live records are held back from here on, and when it returns the
// session fields are written. So nothing falls between what is read of the histories
// after it, and the live flow. refused are those that Redis cannot keep a session of: that
// is nothing to the others.
func (c *conn) enroll(ctx context.Context, wants []want) (replays []replay, refused []wire.Error, err error) {
	subs := make([]*sub, len(wants))
	c.mu.Lock()
	c.subs = slices.Grow(c.subs, len(wants))
	c.mu.Unlock()
	for i := range wants {
		subs[i] = c.gw.hub.add(c, &wants[i])
		if !c.keep(subs[i]) {
			c.gw.hub.remove(subs[i])
			return nil, nil, errOver
		}
	}
	for i, s := range subs {
		var bad *store.BadKey
		switch err := c.awaitSession(ctx, wants[i].target); {
		case err == nil:
			replays = append(replays, replay{s.catchup})
		case errors.As(err, &bad):
			c.forget(wants[i].target)
			refused = append(refused, wire.Error{Ref: wants[i].ref, Code: wire.CodeUnavailable, Message: wants[i].target + ": " + tryAgain})
		default:
			for i := range wants {
				c.forget(wants[i].target)
			}
			return nil, nil, err
		}
	}
	return replays, refused, nil
}

// errOver says that the connection has ended, or is about to.
var errOver = errors.New("the connection has ended")

// keep adds a subscription to the connection's, unless these are over.
func (c *conn) keep(s *sub) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.leaving {
		return false
	}
	c.subs.add(s)
	return true
}

func (c *conn) awaitSession(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return c.gw.sessions.wait(ctx, target, c.id)
}
