package live

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"sluice/gateway/history"
	"sluice/shared/ops"
	"sluice/shared/wire"
)

const (
	// What is read for a connection at a time is bounded, all targets together: what a client
	// asks for in one frame must not decide about this gateway's memory. A single target has
	// a quarter at most.
	feedEvents = 256
	feedBytes  = 4 * pieceBytes
	// feedTargets are the subscriptions that are fed in one round trip.
	feedTargets = 16
	// feedReads are the reads of a target before others have their turn: the ends, a page, and
	// the same again where the history has changed between them.
	feedReads = 4
)

// share is what each of n targets may have.
func share(n int) portion {
	n = max(4, n)
	return portion{max(1, feedEvents/n), feedBytes / n}
}

// replay is a subscription that is brought what the history has for it, or several
// together, in the order of their ids: a client that keeps one id for all its targets
// lacks nothing below it, wherever its link breaks.
type replay []*catchup

// progress is how far a replay has come.
type progress byte

const (
	inFlow    progress = iota // all of it is in the live flow, or gone
	wantsRead                 // there is more in the history, or may be
	wantsRoom                 // the socket's queue is full
)

// catchUp lets the connection feed subscriptions that have left the live flow. One
// goroutine does this for all subscriptions of a connection; it is there only while there
// is something to do. May be called with a shard's lock held.
func (c *Client) catchUp(replays ...replay) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behind = append(c.behind, replays...)
	if !c.feeding {
		c.feeding = true
		c.startFeeder()
	}
}

// startFeeder lets a goroutine go on with what is behind; c.mu is held.
func (c *Client) startFeeder() {
	if len(c.behind) == 0 || c.over {
		c.feeding, c.behind = false, nil
		return
	}
	c.owner.Go(c.feeder)
}

// feed brings subscriptions as far as they come with one read, and without waiting for
// the client. What is left goes on in the background. After an error what was asked for is
// withdrawn, unless the connection is being fed already: then they wait for their turn. It is
// no error of what cannot be withdrawn any more, and goes on.
func (c *Client) feed(ctx context.Context, replays ...replay) error {
	c.mu.Lock()
	if c.feeding {
		c.behind = append(c.behind, replays...)
		c.mu.Unlock()
		return nil
	}
	c.feeding = true
	c.mu.Unlock()
	left, _, err := c.feedOnce(ctx, replays)
	if err != nil && c.withdrawAll(replays) {
		err = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behind = append(left, c.behind...)
	c.startFeeder()
	return err
}

// feeder feeds until nothing is behind. Others come before what wants another turn, so
// that a target for which the link is too slow does not starve them.
func (c *Client) feeder() {
	ctx, done := c.owner.Work()
	defer done()
	wait := 10 * time.Millisecond
	for {
		replays := c.nextBehind()
		if replays == nil {
			return
		}
		room := c.hasRoom()
		left, full, err := replays, !c.peer.Room(), error(nil)
		if !full {
			left, full, err = c.feedOnce(ctx, replays)
		}
		c.mu.Lock()
		c.behind = append(c.behind, left...)
		c.mu.Unlock()
		switch {
		case err != nil:
			c.flow.o.Log.Debug("cannot read histories for a client; retrying", "conn", c.id, "err", err)
			c.giveUp(left, err)
			ops.Pause(ctx, wait)
			wait = min(2*wait, time.Second)
		case full:
			c.lagging(left)
			select {
			case <-room:
			case <-ctx.Done():
			}
		default:
			wait = 10 * time.Millisecond
		}
	}
}

// nextBehind takes what is fed next; nil: nothing, and the feeder ends.
func (c *Client) nextBehind() []replay {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.behind) == 0 || c.over {
		c.feeding, c.behind = false, nil
		return nil
	}
	n := 0
	for total := 0; n < len(c.behind) && (n == 0 || total+len(c.behind[n]) <= feedTargets); n++ {
		total += len(c.behind[n])
	}
	next := append([]replay(nil), c.behind[:n]...)
	if c.behind = c.behind[n:]; len(c.behind) == 0 {
		c.behind = nil
	}
	return next
}

// lagging gives up what was read for a connection that has no room: memory stays
// bounded. Its replays wait.
func (c *Client) lagging(replays []replay) {
	for _, r := range replays {
		for _, k := range r {
			k.forget()
			k.s.ifThere(func() { c.owner.Lags(k.s, k.s.last) })
		}
	}
}

// feedOnce reads once for replays, and gives the connection what it has room for. left
// are those that are not in the live flow yet.
func (c *Client) feedOnce(ctx context.Context, replays []replay) (left []replay, full bool, err error) {
	if c.byTime {
		replays = c.together(replays)
	}
	if err := c.readFor(ctx, replays); err != nil {
		return replays, false, err
	}
	for i := range replays {
		switch c.give(&replays[i]) {
		case wantsRead:
			left = append(left, replays[i])
		case wantsRoom:
			return append(left, replays[i:]...), true, nil
		}
	}
	return left, false, nil
}

// together makes one replay of all, and of the subscriptions that are in the live flow:
// nothing may overtake what a client lacks that keeps a single id.
func (c *Client) together(replays []replay) []replay {
	var all replay
	for _, r := range replays {
		all = append(all, r...)
	}
	c.mu.Lock()
	subs := slices.Clone(c.subs)
	for _, r := range c.behind {
		all = append(all, r...)
	}
	c.behind = nil
	c.mu.Unlock()
	for _, s := range subs {
		s.target.shard.mu.Lock()
		if !s.gone && s.held == nil {
			all = append(all, c.flow.detach(s, &held{}, c.flow.heardOf(s.target)))
		}
		s.target.shard.mu.Unlock()
	}
	return []replay{all}
}

// readFor reads what replays need to go on, and answers what the client asked for.
func (c *Client) readFor(ctx context.Context, replays []replay) error {
	var empty []*catchup
	for _, r := range replays {
		for _, k := range r {
			switch {
			case !k.s.ifThere(k.takeNext): // nothing more is read for it, nor begun
				k.records, k.cursor, k.ended = nil, nil, true
			case k.answer == nil && len(k.records) == 0 && !k.ended:
				empty = append(empty, k)
			}
		}
	}
	if len(empty) > 0 {
		readings := make([]*history.Reading, len(empty))
		for i, k := range empty {
			readings[i] = k.query(share(len(empty)))
		}
		if err := c.readAll(ctx, empty, readings, share(len(empty))); err != nil {
			return err
		}
	}
	return c.beginCursors(ctx, replays)
}

// beginCursors writes where a device begins with its targets, before it is told: what
// comes from then on it has not acknowledged.
func (c *Client) beginCursors(ctx context.Context, replays []replay) error {
	var begin []*catchup
	var came time.Time // the first of them
	for _, r := range replays {
		for _, k := range r {
			if k.cursor == nil {
				continue
			}
			if at := k.cursor.came(); len(begin) == 0 || at.Before(came) {
				came = at
			}
			begin = append(begin, k)
		}
	}
	if len(begin) == 0 {
		return nil
	}
	if err := c.owner.BeginCursors(ctx, came, func() map[string]wire.ID {
		at := make(map[string]wire.ID, len(begin))
		for _, k := range begin {
			k.s.ifThere(func() { at[k.s.target.name] = k.begins })
		}
		return at
	}); err != nil {
		return err
	}
	for _, k := range begin {
		k.cursor = nil
	}
	return nil
}

// readAll does the readings. Where they seem to have a gap it reads the ends of the
// histories, and where it has read only these, what follows.
func (c *Client) readAll(ctx context.Context, of []*catchup, readings []*history.Reading, p portion) error {
	ctx, cancel := context.WithTimeout(ctx, RedisTimeout)
	defer cancel()
	for n := 0; n < feedReads && len(of) > 0; n++ {
		now := c.flow.clock() // what is read is at least as young
		if err := c.flow.o.History.Read(ctx, c.user, readings...); err != nil {
			return err
		}
		left := 0
		for i, k := range of {
			again := readings[i]
			switch {
			case !k.take(again, now, c.flow.o.Metrics):
				again = judge(again)
			case k.wantsPage():
				again = k.query(p)
			default:
				continue
			}
			of[left], readings[left] = k, again
			left++
		}
		of, readings = of[:left], readings[:left]
	}
	return nil
}

// give queues what was read for a replay, in the order of ids, and lets those that have
// all of it join the live flow.
func (c *Client) give(r *replay) progress {
	for _, k := range *r {
		if !k.reply() {
			return wantsRoom
		}
	}
	for {
		k, unread := r.lowest()
		switch {
		case unread:
			return wantsRead
		case k == nil:
			return c.join(r)
		case !k.giveOne():
			return wantsRoom
		}
	}
}

// giveOne queues the next event that was read; false: there is no room.
func (k *catchup) giveOne() (room bool) {
	r := &k.records[0]
	room = true
	there := k.s.ifThere(func() {
		switch {
		case len(k.next) > 0: // it goes on elsewhere
			k.forget()
		case !k.s.has(r.ID) && !k.s.follows(r):
			k.forget() // a hole: the next read begins at it
		case k.s.push(r):
			k.records = k.records[1:]
		default:
			room = false
		}
	})
	if !there {
		k.records, k.ended = nil, true
	}
	return room
}

// join lets those of a replay that is given join the live flow; the others read on.
func (c *Client) join(r *replay) progress {
	rest := (*r)[:0]
	for _, k := range *r {
		if !c.flow.join(k.s) {
			k.forget()
			rest = append(rest, k)
		}
	}
	if *r = rest; len(rest) > 0 {
		return wantsRead
	}
	return inFlow
}

// lowest is where a replay goes on: with the oldest event that has been read. unread: one
// of the others may have an older one.
func (r replay) lowest() (k *catchup, unread bool) {
	readAt := int64(math.MaxInt64)
	for _, other := range r {
		switch {
		case len(other.records) > 0:
			if k == nil || other.records[0].ID.Less(k.records[0].ID) {
				k = other
			}
		case !other.ended:
			return nil, true
		default:
			readAt = min(readAt, other.readAt)
		}
	}
	if k == nil || unixMs(k.records[0].ID) <= readAt || len(r) == 1 {
		return k, false
	}
	for _, other := range r {
		if len(other.records) == 0 {
			other.ended = false
		}
	}
	return nil, true
}

// reply queues the answer to what the client asked for; false: there is no room.
func (k *catchup) reply() (room bool) {
	room = true
	there := k.s.ifThere(func() {
		peer := k.s.client.peer
		for len(k.answer) > 0 {
			if !peer.Answer(k.answer[0]) && !peer.Send(k.answer[0]) { // a refused Send hears of room
				room = false
				return
			}
			if k.answer = k.answer[1:]; len(k.answer) == 0 {
				k.answer, k.ref = nil, ""
				k.s.answered = k.s.answered || len(k.next) == 0
			}
		}
	})
	return room || !there
}

// giveUp refuses what clients have asked for and Redis has not answered for too long, or what must not begin. What
// was there before goes on.
func (c *Client) giveUp(replays []replay, err error) {
	for _, r := range replays {
		for _, k := range r {
			w, never := k.asked(), k.cursor != nil && errors.Is(err, ErrStoodStill)
			if w == nil || !never && time.Since(w.asked) < RedisTimeout {
				continue
			}
			withdrawn := !w.Opening && c.withdraw(k)
			switch {
			case withdrawn && never:
				c.owner.Refuse(w.Ref, ErrStoodStill.Message)
			case withdrawn:
				c.owner.Refuse(w.Ref, TryAgain)
			case w.Opening || never: // nor can it be taken back
				c.owner.CannotOpen()
				return
			}
		}
	}
}

// asked is what the client has asked for, while nothing of the answer has gone.
func (k *catchup) asked() *Request { return cmp.Or(k.ask, k.cursor) }

// withdraw takes back what was asked for: a subscription that was there goes on, a new
// one is none. false: there was nothing to take back, or it has moved already.
func (c *Client) withdraw(k *catchup) bool {
	w := k.asked()
	if w == nil || w.moves && k.ask == nil {
		return false
	}
	if !k.s.ifThere(func() {
		k.ask, k.s.answered = nil, len(k.next) == 0
		if k.cursor != nil {
			k.cursor, k.answer, k.ref = nil, nil, ""
		}
	}) {
		return false
	}
	if !w.moves {
		c.end(k.s)
	}
	return true
}

// withdrawAll takes back what was asked for. goOn: nothing was, and some has moved already, and is answered later.
func (c *Client) withdrawAll(replays []replay) (goOn bool) {
	taken := false
	for _, r := range replays {
		for _, k := range r {
			taken = c.withdraw(k) || taken
			goOn = goOn || k.cursor != nil
		}
	}
	return goOn && !taken
}

// ifThere does something with the subscription under its shard's lock, unless it has
// ended: nothing of it may come behind `unsubscribed`.
func (s *Sub) ifThere(do func()) (there bool) {
	s.target.shard.mu.Lock()
	defer s.target.shard.mu.Unlock()
	if !s.gone {
		do()
	}
	return !s.gone
}
