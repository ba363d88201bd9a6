package gateway

import (
	"cmp"
	"context"
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
	target string
	ref    string
	start  start
	bad    string // why the position cannot be used
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
// it has from the start, what it resumes.
func (c *conn) open(id auth.Identity, asked *asked) {
	if age := c.gw.cfg.MaxAge; age > 0 { // the later half of it: who came together does not go together
		c.retireAt = time.Now().Add(age/2 + rand.N(age/2+1))
	}
	c.authorize(id)
	c.mu.Lock()
	c.opened = true
	c.mu.Unlock()
	c.device = strings.Clone(asked.device)

	ctx, done := c.work()
	defer done()
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	var err error
	if asked.resume {
		err = c.byCursors(ctx, id.User, asked)
	}
	if err == nil {
		list, more := c.entitled(id, asked.wants)
		asked.mistakes = append(asked.mistakes, more...)
		err = c.follows(ctx, list, func() { c.welcome(asked.mistakes) })
	}
	if err != nil {
		c.gw.log.Warn("could not open a connection", "conn", c.id, "err", err)
		c.sock.Close(wire.CloseOverloaded, "not possible now; try again")
	}
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

// follows subscribes: first the session fields are written, then welcome is said,
// then the histories are read; live records are held back from before the first
// step, so nothing falls between.
func (c *conn) follows(ctx context.Context, wants []want, welcome func()) error {
	subs := make([]*sub, len(wants))
	c.mu.Lock()
	c.subs = slices.Grow(c.subs, len(wants))
	c.mu.Unlock()
	for i, w := range wants {
		subs[i] = c.gw.hub.add(c, w.target)
		c.mu.Lock()
		c.subs.add(subs[i])
		c.mu.Unlock()
	}
	all := wants
	undo := func(err error) error {
		for _, w := range all {
			c.forget(w.target)
		}
		return err
	}
	for _, w := range wants {
		if err := c.gw.sessions.wait(ctx, w.target, c.id); err != nil {
			return undo(err)
		}
	}
	if welcome != nil {
		welcome()
	}
	for len(wants) > 0 {
		n := min(len(wants), firstTargets)
		if err := c.beginAll(ctx, subs[:n], wants[:n]); err != nil {
			return undo(err)
		}
		subs, wants = subs[n:], wants[n:]
	}
	return nil
}

// What a client resumes is read a few targets and events at a time: what it asks for
// in one frame must not decide about this gateway's memory. More events than a first
// read has take a second one and a goroutine: for a client that missed 50 that was a
// third of the work.
const (
	firstTargets = 4
	firstEvents  = 64
)

func (c *conn) beginAll(ctx context.Context, subs []*sub, wants []want) error {
	queries := make([]*reading, len(wants))
	for i, w := range wants {
		queries[i] = &reading{Query: store.Query{Target: w.target, After: w.start.id}}
		if w.start.kind != startNow {
			queries[i].Limit = firstEvents
		}
	}
	if err := c.gw.read(ctx, queries...); err != nil {
		return err
	}
	for i, w := range wants {
		if err := c.begin(ctx, subs[i], w, queries[i]); err != nil {
			return err
		}
	}
	return nil
}

// begin answers one subscription and brings it into the live flow.
func (c *conn) begin(ctx context.Context, s *sub, w want, q *reading) error {
	m := c.gw.metrics
	answer := wire.Subscribed{Ref: w.ref, To: w.target, Position: q.Got.Newest, Recovered: true}
	position := store.Position{After: w.start.id, Own: w.start.kind == startOwn, Since: int64(w.start.id.Ms)}
	ok, reason := true, ""
	if w.start.kind == startOwn || w.start.kind == startBare {
		ok, reason = c.gw.complete(&q.Query, position, wire.ID{})
		m.resumed(ok, reason)
	}
	switch {
	case !ok:
		m.gaps.WithLabelValues(reason).Inc()
		if err := c.sendAll(ctx, gap(&q.Query, w.start.id, reason)); err != nil {
			return err
		}
		answer.Recovered = false
		s.pos, q.Page, q.records = q.Got.Newest, store.Page{}, nil
	case w.start.kind == startOwn:
		s.pos = w.start.id
	case len(q.records) > 0:
		s.pos = q.records[0].Prev // from here on the position is the target's own
	default:
		s.pos = q.Got.Newest
	}
	if err := c.sendAll(ctx, answer); err != nil {
		return err
	}
	for i := range q.records {
		if !s.push(&q.records[i]) {
			c.catchUp(s)
			return nil
		}
	}
	if q.Page.More || !c.gw.hub.join(s) {
		c.catchUp(s)
	}
	return nil
}

// position answers a subscription that is there already.
func (c *conn) position(w want) error {
	ctx, done := c.work()
	defer done()
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	q := &reading{Query: store.Query{Target: w.target}}
	if err := c.gw.read(ctx, q); err != nil {
		return err
	}
	c.send(wire.Subscribed{Ref: w.ref, To: w.target, Position: q.Got.Newest, Recovered: true})
	return nil
}
