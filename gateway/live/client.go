package live

import (
	"context"
	"errors"
	"slices"
	"time"

	"sluice/gateway/lock"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// Peer is the way to a client, whatever the transport. Nothing here waits, and locks of
// this package may be held.
type Peer interface {
	// Send queues an event. false: there is no room, and Client.Drained follows when there
	// is; or the connection ends. The frame must never be changed.
	Send(frame []byte) bool
	// Answer queues an answer, for which there is room besides that of events.
	Answer(frame []byte) bool
	// Room reports whether a Send would be taken.
	Room() bool
}

// Owner is the connection that a Client is a part of.
type Owner interface {
	// Work gives the context of work for the connection, which ends with it; done must be
	// called. Go runs a goroutine that the gateway waits for.
	Work() (ctx context.Context, done func())
	Go(f func())

	// Tell queues an answer, of which a client that does not read hears no more. Refuse says
	// that what was asked for is not possible now. CannotOpen ends a connection that cannot
	// have what it asked for when it came.
	Tell(f wire.ServerFrame)
	Refuse(ref, message string)
	CannotOpen()

	// BeginCursors writes where a device begins with targets, which came to this gateway at the earliest at a time. ErrStoodStill:
	// it does not, and never will.
	// At is asked for when the end of a cursor will wait for this begin: a subscription that has ended before is not in it.
	BeginCursors(ctx context.Context, asked time.Time, at func() map[string]wire.ID) error
	// LedBack says that a subscription goes on below what it was sent, up to here. Left says
	// that subscriptions have ended: acks of what they were sent may be on their way. A
	// shard's lock is held, or the Client's.
	LedBack(target string, sent wire.ID)
	Left(subs ...*Sub)
	// Joined says that there is a subscription more, until Left. The Client's lock is held.
	Joined()
	// Lags says that a subscription has more to get, from a position on, and the peer no
	// room; CaughtUp, that it has met the live flow or ended. A shard's lock is held.
	Lags(s *Sub, at wire.ID)
	CaughtUp(s *Sub)
}

// Client is a connection's part of the live flow: its subscriptions. It is made to be
// embedded; Attach must be called.
type Client struct {
	flow    *Flow
	id      string // of the connection
	peer    Peer
	owner   Owner
	cursors bool   // a device has cursors
	byTime  bool   // the client keeps a single id for all its targets
	user    string // for whom histories are read

	mu      lock.Mutex[lock.Client]
	over    bool // it has left
	feeding bool // somebody brings its subscriptions what they lack (feed.go)
	subs    subList
	behind  []replay      // subscriptions that catch up and wait for that
	room    chan struct{} // closed when the peer has room again; nil: nobody asked
}

// Attach makes the Client of a connection.
func (c *Client) Attach(f *Flow, id string, p Peer, o Owner) {
	c.flow, c.id, c.peer, c.owner = f, id, p, o
}

// Keeps says whose client it is and how it keeps its positions, before its first
// subscription: in the cursors of its device, and, or, as a single id for all its targets.
func (c *Client) Keeps(user string, cursors, singleID bool) {
	c.user, c.cursors, c.byTime = user, cursors, singleID
}

// Send queues an event that is no part of the live flow.
func (c *Client) Send(frame []byte) bool { return c.peer.Send(frame) }

// Answer queues an answer.
func (c *Client) Answer(frame []byte) bool { return c.peer.Answer(frame) }

// Owner is the connection.
func (c *Client) Owner() Owner { return c.owner }

// Target is what is subscribed to.
func (s *Sub) Target() string { return s.target.name }

// Sent is up to where the subscription was given events, or the position that it began
// with.
func (s *Sub) Sent() wire.ID {
	s.target.shard.mu.Lock()
	defer s.target.shard.mu.Unlock()
	return s.last
}

// Get is the subscription to a target, nil if there is none, and the number of all.
func (c *Client) Get(target string) (s *Sub, all int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs.get(target), len(c.subs)
}

// Targets are what is subscribed to.
func (c *Client) Targets() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, len(c.subs))
	for i, s := range c.subs {
		names[i] = s.target.name
	}
	return names
}

// Refusal is a subscription that cannot be.
type Refusal struct {
	Ref, Target string
}

// ErrOver says that the connection has ended, or is about to.
var ErrOver = errors.New("the connection has ended")

// ErrSubscribed says that there is a subscription to a target already: somebody else asked for it at the same time.
var ErrSubscribed = errors.New("subscribed already")

// ErrStoodStill says that nothing is begun or ended for a device, since that may have lain here while the device was elsewhere.
var ErrStoodStill = &wire.FrameError{Code: wire.CodeUnavailable, Message: "this gateway stood still; ask again, if you still want it"}

// Subscribe subscribes to targets, and gives the client what it gets at once: what one
// read brings, and its peer has room for. The rest follows in the background. Before that
// welcome is called, when it is known what is refused: Redis cannot keep a session of it,
// which is nothing to the others. After an error there is none of the subscriptions; after ErrSubscribed,
// none but the one that was there.
func (c *Client) Subscribe(ctx context.Context, wants []Request, welcome func(refused []Refusal)) error {
	replays, refused, err := c.enroll(ctx, wants)
	if err != nil {
		return err
	}
	welcome(refused)
	if c.byTime {
		return c.feed(ctx, replays...)
	}
	subs := make([]*Sub, len(replays))
	for i, r := range replays {
		subs[i] = r[0].s
	}
	for n := 0; len(replays) > 0; replays = replays[n:] {
		n = min(len(replays), feedTargets)
		if err := c.feed(ctx, replays[:n]...); err != nil {
			for _, s := range subs { // also those that were fed before, and those that nobody would feed any more
				c.forget(s)
			}
			return err
		}
	}
	return nil
}

// Move lets a subscription begin at another position, or says where it stands. If that
// fails it goes on as before. ok: false if too much of it has no answer yet.
func (c *Client) Move(ctx context.Context, s *Sub, w *Request) (ok bool, err error) {
	w.moves, w.asked = true, time.Now()
	begun, ok := c.flow.rewind(s, w)
	if begun == nil { // refused, or the feeder has it
		return ok, nil
	}
	return true, c.feed(ctx, replay{begun})
}

// enroll subscribes: live records are held back from here on, and when it returns the
// session fields are written. So nothing falls between what is read of the histories
// after it, and the live flow.
func (c *Client) enroll(ctx context.Context, wants []Request) (replays []replay, refused []Refusal, err error) {
	subs := make([]*Sub, len(wants))
	c.mu.Lock()
	c.subs = slices.Grow(c.subs, len(wants))
	c.mu.Unlock()
	now := time.Now()
	for i := range wants {
		wants[i].asked = now
		subs[i] = c.flow.add(c, &wants[i])
		if err := c.keep(subs[i]); err != nil {
			c.flow.remove(subs[i])
			for _, s := range subs[:i] {
				c.forget(s)
			}
			return nil, nil, err
		}
	}
	for i, s := range subs {
		var bad *store.BadKey
		switch err := c.awaitSession(ctx, wants[i].Target); {
		case err == nil:
			replays = append(replays, replay{s.catchup})
		case errors.As(err, &bad):
			c.forget(s)
			refused = append(refused, Refusal{wants[i].Ref, wants[i].Target})
		default:
			for _, s := range subs {
				c.forget(s)
			}
			return nil, nil, err
		}
	}
	return replays, refused, nil
}

// keep adds a subscription to the client's, unless these are over, or it has one to this target: two would give it each
// event twice, and the one that is not in the list would never end.
func (c *Client) keep(s *Sub) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return ErrOver
	case c.subs.get(s.target.name) != nil:
		return ErrSubscribed
	}
	c.subs.add(s)
	c.owner.Joined()
	return nil
}

func (c *Client) awaitSession(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, RedisTimeout)
	defer cancel()
	return c.flow.o.Sessions.Wait(ctx, target, c.id)
}

// End ends a subscription, and returns it if there is one. What was asked of it and has no
// answer is refused.
func (c *Client) End(target string) *Sub {
	if s, _ := c.Get(target); s != nil && c.end(s) {
		return s
	}
	return nil
}

// end is End of one subscription, and not of one to the same target that came after it. false: it has ended already.
func (c *Client) end(s *Sub) bool {
	if !c.forget(s) {
		return false
	}
	for _, ref := range s.unanswered() {
		c.owner.Refuse(ref, "the subscription ended before this was answered")
	}
	return true
}

func (c *Client) forget(s *Sub) (there bool) {
	c.mu.Lock()
	if there = c.subs.get(s.target.name) == s; there {
		c.subs.remove(s.target.name)
		c.owner.Left(s)
	}
	c.mu.Unlock()
	if there {
		c.flow.remove(s)
	}
	return there
}

// Leave ends all subscriptions, for good.
func (c *Client) Leave() {
	c.mu.Lock()
	c.over = true
	subs := c.subs
	c.subs = nil
	c.owner.Left(subs...)
	c.mu.Unlock()
	for _, s := range subs {
		c.flow.remove(s)
	}
}

// hasRoom is closed at the next Drained. Ask before the Send that may be refused.
func (c *Client) hasRoom() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room == nil {
		c.room = make(chan struct{})
	}
	return c.room
}

// Drained says that the peer has room again.
func (c *Client) Drained() {
	c.mu.Lock()
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	c.mu.Unlock()
}
