package client_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/shared/client"
	"sluice/shared/wire"
)

const to = "topic:a"

// standing is a client with a subscription that stands at event 1.
func standing(t testing.TB, s *server, change func(*client.Options)) (*running, *peer, *list) {
	t.Helper()
	c := s.client(change)
	var got list
	sub := c.must(to, got.handler)
	p := s.welcome(0)
	p.wait("subscribe", 1)
	p.subscribed(to, 1)
	if at, err := sub.Ready(soon(t)); err != nil || at.String() != "1-0" {
		t.Fatalf("it begins at %v, %v", at, err)
	}
	return c, p, &got
}

// TestRepeats: repeats are dropped, live-only events and skips are not taken for holes. Over a real socket.
func TestRepeats(t *testing.T) {
	c, p, got := standing(t, newServer(t), nil)
	p.event(to, 2, 1)
	p.event(to, 2, 1)
	p.event(to, 1, 0)
	p.say(msg{"type": "event", "to": to, "event": "message", "data": "live"})
	p.say(msg{"type": "skip", "to": to, "id": "3-0", "prev": "2-0"})
	p.event(to, 4, 3)
	got.want(t, "2", `"live"`, "4")
	if n := c.Stats(); n != (client.Stats{Repeats: 2}) || len(p.sent("subscribe")) != 1 {
		t.Errorf("%+v", n)
	}
}

// TestHole: a hole is asked for once; what cannot be had then is told as a gap. Over a real socket.
func TestHole(t *testing.T) {
	s := newServer(t)
	var got list
	c := s.client(func(o *client.Options) { o.OnGap = got.gap })
	c.must(to, got.handler)
	p := s.welcome(0)
	p.wait("subscribe", 1)
	p.subscribed(to, 1)
	p.event(to, 5, 4)
	p.event(to, 6, 5)
	if f := p.wait("subscribe", 2); f.After != "1-0" {
		t.Errorf("it asks after %s", f.After)
	}
	p.subscribed(to, 1)
	p.event(to, 3, 1)
	p.event(to, 5, 4)
	if f := p.wait("subscribe", 3); f.After != "3-0" {
		t.Errorf("it asks after %s", f.After)
	}
	p.subscribed(to, 3)
	p.event(to, 5, 4)
	got.want(t, "3", "gap unknown 3-0-4-0", "5")
	if n := c.Stats(); n.Holes != 2 || len(p.sent("subscribe")) != 3 {
		t.Errorf("%+v, %v", n, p.sent("subscribe"))
	}
}

func TestGapMovesBack(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		var own list
		_, p, got := standing(t, s, func(o *client.Options) { o.OnGap = own.gap })
		p.event(to, 7, 1)
		p.say(msg{"type": "gap", "to": to, "after": "7-0", "oldest": "2-0", "position": "1-0", "reason": "unknown"})
		p.event(to, 2, 1)
		got.want(t, "7", "2")
		own.want(t, "gap unknown 7-0-1-0")
	})
}

// TestEarlierPosition: what is of a position that was left is not taken.
func TestEarlierPosition(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		p := s.welcome(0)
		synctest.Wait()
		var got list
		c.must("all", got.handler)
		p.wait("subscribe", 1)
		p.say(msg{"type": "subscribed", "to": "all", "position": "1-0", "recovered": true}) // for everyone, before this one asked
		p.event("all", 2, 1)
		p.subscribed("all", 2)
		p.event("all", 3, 2)
		got.want(t, "3")
	})
}

// TestOverflow: events wait for slow handlers, within the bounds; the rest is asked for when they are done.
func TestOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.QueueBytes = 4000 })
		var got list
		step := make(chan struct{})
		c.must(to, func(ctx context.Context, e *client.Event) error {
			_ = got.handler(ctx, e)
			select {
			case <-step:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
		p := s.welcome(0)
		p.wait("subscribe", 1)
		p.subscribed(to, 0)
		for n := 1; n <= 50; n++ {
			p.event(to, n, n-1)
		}
		synctest.Wait()
		n := 0
		for ; len(p.sent("subscribe")) == 1; n++ {
			step <- struct{}{}
			synctest.Wait()
		}
		if f := p.wait("subscribe", 2); n < 2 || n > 20 || f.After != id(n) || c.Stats().Overflows != 1 {
			t.Errorf("%d events were kept, asked after %s, %+v", n, f.After, c.Stats())
		}
		p.subscribed(to, n)
		p.event(to, n+1, n)
		want := make([]string, n+1)
		for i := range want {
			want[i] = fmt.Sprint(i + 1)
		}
		got.want(t, want...)
	})
}

// TestCrowdedOut: a target that found the queue full of another one's events is asked for when there is room.
func TestCrowdedOut(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.QueueBytes = 2000 })
		var got list
		step := make(chan struct{})
		c.must("topic:slow", func(ctx context.Context, _ *client.Event) error {
			select {
			case <-step:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
		c.must(to, got.handler)
		p := s.welcome(0)
		p.wait("subscribe", 2)
		p.subscribed("topic:slow", 0)
		p.subscribed(to, 0)
		for n := 1; n <= 20; n++ {
			p.event("topic:slow", n, n-1)
		}
		for n := 1; n <= 20; n++ {
			p.event(to, n, n-1)
		}
		synctest.Wait()
		close(step)
		f := p.wait("subscribe", 4) // one of each
		if f.To != to {
			f = p.wait("subscribe", 3)
		}
		// It had its share of the queue before.
		if want := id(len(got.all())); f.To != to || f.After != want || want == id(0) {
			t.Errorf("asked for %s after %s, it has %s", f.To, f.After, want)
		}
	})
}

// kept is a store in memory.
type kept struct {
	mu  sync.Mutex
	now client.Positions
	err error
}

func (k *kept) Load(context.Context) (client.Positions, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now, k.err
}

func (k *kept) Save(_ context.Context, p client.Positions) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.now = p
	}
	return k.err
}

func (k *kept) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// has is whose positions they are, and where the target stands.
func (k *kept) has() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now.User + " " + k.now.At[to].String()
}

// TestHandled: a position is saved, and acknowledged, when the handler has returned; not if it was interrupted.
func TestHandled(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		var store kept
		c := s.client(func(o *client.Options) { o.Store, o.Device = &store, "phone-1" })
		step := make(chan struct{})
		c.must(to, func(ctx context.Context, _ *client.Event) error {
			select {
			case <-step:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		p := s.welcome(0)
		if p.query != "device=phone-1&resume=device" {
			t.Error(p.query)
		}
		p.wait("subscribe", 1)
		p.subscribed(to, 1)
		p.event(to, 2, 1)
		p.event(to, 3, 2)
		time.Sleep(time.Second)
		if at := store.has(); at != "alice 1-0" || len(p.sent("ack")) != 0 {
			t.Errorf("%v, %v before it was handled", at, p.sent("ack"))
		}
		step <- struct{}{}
		time.Sleep(time.Second)
		if at := store.has(); at != "alice 2-0" || len(p.sent("ack")) != 1 || p.sent("ack")[0].ID != "2-0" {
			t.Errorf("%v, %v after it was handled", at, p.sent("ack"))
		}
		if err := c.stop(); err != nil || store.has() != "alice 2-0" {
			t.Errorf("%v, %v after the end", store.has(), err)
		}
	})
}

// TestLastAck: what was handled at the end is acknowledged and saved before Run returns. Over a real socket.
func TestLastAck(t *testing.T) {
	s := newServer(t)
	store := client.File(filepath.Join(t.TempDir(), "positions"))
	c := s.client(func(o *client.Options) { o.Store, o.Ack = store, client.AckAlways })
	handling := make(chan struct{})
	c.must(to, func(ctx context.Context, _ *client.Event) error {
		close(handling)
		<-ctx.Done()
		return nil // it was handled nevertheless
	})
	p := s.welcome(0)
	p.wait("subscribe", 1)
	p.subscribed(to, 1)
	p.event(to, 2, 1)
	<-handling
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	if f := p.wait("ack", 1); f.ID != "2-0" {
		t.Errorf("acknowledged %s", f.ID)
	}
	at, err := store.Load(ctx)
	if err != nil || at.User != "alice" || at.At[to].String() != "2-0" {
		t.Errorf("%v, %v", at, err)
	}

	again := s.prepared(func(o *client.Options) { o.Store = store })
	again.must(to, func(context.Context, *client.Event) error { return nil })
	again.run()
	if f := s.peer(1).wait("connect", 1); f.Resume.Positions[to] != "2-0" {
		t.Errorf("it comes back with %v", f.Resume)
	}
}

// TestStoreFails: a client whose positions cannot be read does not begin again; one that cannot save them goes on.
func TestStoreFails(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		broken := errors.New("broken")
		var store kept
		store.fail(broken)
		if err := s.client(func(o *client.Options) { o.Store = &store }).wait(); !errors.Is(err, broken) || s.count() != 0 {
			t.Errorf("got %v", err)
		}
		store.fail(nil)
		c, p, got := standing(t, s, func(o *client.Options) { o.Store = &store })
		time.Sleep(time.Second)
		store.fail(broken)
		p.event(to, 2, 1)
		got.want(t, "2")
		time.Sleep(time.Second)
		store.fail(nil)
		time.Sleep(time.Second)
		if errs := c.errors(); len(errs) == 0 || !errors.Is(errs[0], broken) || store.has() != "alice 2-0" {
			t.Errorf("%v, %v", errs, store.has())
		}
	})
}

// TestHandlerError: it is told, and does not stop what follows.
func TestHandlerError(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		oops := errors.New("oops")
		var got list
		c := s.client(nil)
		c.must(to, func(ctx context.Context, e *client.Event) error {
			_ = got.handler(ctx, e)
			if e.ID.Ms == 2 {
				return oops
			}
			return nil
		})
		p := s.welcome(0)
		p.wait("subscribe", 1)
		p.subscribed(to, 1)
		p.event(to, 2, 1)
		p.event(to, 3, 2)
		got.want(t, "2", "3")
		var he *client.HandlerError
		if errs := c.errors(); len(errs) != 1 || !errors.Is(errs[0], oops) || !errors.As(errs[0], &he) || he.Event.ID.Ms != 2 {
			t.Errorf("%v", errs)
		}
	})
}

// TestUnsubscribe forgets, Stop does not.
func TestUnsubscribe(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c, p, got := standing(t, s, nil)
		if _, err := c.Subscribe(to, got.handler); !errors.Is(err, client.ErrSubscribed) {
			t.Errorf("a second handler: %v", err)
		}
		if _, err := c.Subscribe("room", got.handler); !errors.Is(err, wire.ErrTarget) {
			t.Errorf("no target: %v", err)
		}
		other := c.must("topic:b", got.handler)
		p.wait("subscribe", 2)
		p.subscribed("topic:b", 5)
		if _, err := other.Ready(soon(t)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		other.Stop()
		<-other.Done()
		if err := other.Err(); !errors.Is(err, client.ErrClosed) || p.wait("unsubscribe", 1).To != "topic:b" {
			t.Errorf("%v", err)
		}
		again := c.must("topic:b", got.handler)
		if f := p.wait("subscribe", 3); f.After != "5-0" {
			t.Errorf("after Stop it goes on after %q", f.After)
		}
		again.Unsubscribe()
		p.wait("unsubscribe", 2)
		c.must("topic:b", got.handler, client.After(client.Earliest))
		if f := p.wait("subscribe", 4); f.After != "earliest" {
			t.Errorf("after Unsubscribe it begins after %q", f.After)
		}
	})
}

// TestRefusedTargets: what the server cannot do now is asked for again, what it refuses is not.
func TestRefusedTargets(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		none := func(context.Context, *client.Event) error { return nil }
		a := c.must("topic:a", none)
		b := c.must("topic:b", none)
		p := s.welcome(0)
		p.wait("subscribe", 2)
		for _, f := range p.sent("subscribe") {
			if f.To == "topic:a" {
				p.say(msg{"type": "error", "ref": f.Ref, "code": "rate_limited", "message": "slowly", "retry_after_ms": 3000})
			} else {
				p.say(msg{"type": "error", "ref": f.Ref, "code": "forbidden", "message": "no"})
			}
		}
		if _, err := b.Ready(soon(t)); !isCode(err, "forbidden") {
			t.Errorf("got %v", err)
		}
		<-b.Done()
		time.Sleep(2500 * time.Millisecond)
		if n := len(p.sent("subscribe")); n != 2 {
			t.Errorf("%d subscribes", n)
		}
		time.Sleep(time.Second)
		p.wait("subscribe", 3)
		p.subscribed("topic:a", 4)
		if at, err := a.Ready(soon(t)); err != nil || at.Ms != 4 {
			t.Errorf("%v, %v", at, err)
		}
	})
}

// TestOwnEvents: the own user and `all` have a handler without being subscribed to.
func TestOwnEvents(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		var got list
		s.client(func(o *client.Options) { o.OnEvent = got.handler })
		p := s.welcome(0)
		p.wait("subscribe", 2)
		p.subscribed("all", 0)
		p.subscribed("user:alice", 0)
		p.event("all", 1, 0)
		p.event("user:alice", 2, 0)
		got.want(t, "1", "2")
	})
}

// TestStoppedWithAcks: acks of what was left while there was no connection are not sent on one that does not know it, since the server
// ends who says too much that is wrong.
func TestStoppedWithAcks(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.Ack = client.AckAlways })
		handling, handled := make(chan bool), make(chan bool)
		left := c.must(to, func(context.Context, *client.Event) error {
			handling <- true
			<-handled
			return nil
		})
		var got list
		c.must("topic:stays", got.handler)
		p := s.welcome(0)
		p.wait("subscribe", 2)
		p.subscribed(to, 1)
		p.event(to, 2, 1)
		<-handling
		_ = p.ws.Close()
		s.peer(1)
		close(handled)
		synctest.Wait()
		left.Unsubscribe()
		p = s.welcome(1)
		p.wait("subscribe", 1)
		p.subscribed("topic:stays", 1)
		p.event("topic:stays", 2, 1)
		p.wait("ack", 1)
		time.Sleep(time.Second)
		if acks := p.sent("ack"); len(acks) != 1 || acks[0].To != "topic:stays" {
			t.Errorf("%+v", acks)
		}
	})
}

// TestStoppedDevice goes on where it stood, also if the server does not know of its last acknowledgements yet; and what was
// unsubscribed is forgotten, also if there was no connection.
func TestStoppedDevice(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.Device = "d" })
		var got list
		stopped, over := c.must(to, got.handler), c.must("topic:over", got.handler)
		p := s.welcome(0)
		p.wait("subscribe", 2)
		for _, target := range []string{to, "topic:over"} {
			p.subscribed(target, 1)
			p.event(target, 2, 1)
			p.wait("ack", 1)
		}
		got.want(t, "2", "2")
		stopped.Stop()
		_ = p.ws.Close()
		s.peer(1)
		over.Unsubscribe()
		p = s.welcome(1)
		for _, target := range []string{to, "topic:over"} {
			p.say(msg{"type": "subscribed", "to": target, "position": id(1), "recovered": true})
		}
		f := p.wait("unsubscribe", 1)
		p.say(msg{"type": "unsubscribed", "ref": f.Ref, "to": f.To})
		synctest.Wait()
		if f.To != "topic:over" {
			t.Errorf("%+v", f)
		}
		c.must(to, got.handler)
		if f := p.wait("subscribe", 1); f.To != to || f.After != "2-0" {
			t.Errorf("%+v", f)
		}
		c.must("topic:over", got.handler)
		if f := p.wait("subscribe", 2); f.To != "topic:over" || f.After != "" {
			t.Errorf("%+v", f)
		}
	})
}

// TestDeviceSubscribesAgain: who unsubscribes and subscribes again begins from then on, also where the server has not answered, or the
// link broke before it knew of it, or it could not end the device's cursor at once.
func TestDeviceSubscribesAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.Device = "d" })
		var got list
		first := c.must(to, got.handler)
		p := s.welcome(0)
		p.wait("subscribe", 1)
		p.subscribed(to, 1)
		p.event(to, 2, 1)
		got.want(t, "2")
		first.Unsubscribe()
		p.wait("unsubscribe", 1)
		_ = p.ws.Close()
		s.peer(1)
		again := c.must(to, got.handler, client.OnGap(got.gap))
		p = s.welcome(1)
		p.say(msg{"type": "gap", "to": to, "after": id(1), "oldest": id(3), "position": id(2), "reason": "trimmed"})
		p.say(msg{"type": "subscribed", "to": to, "position": id(2), "recovered": false}) // where the cursor is
		p.event(to, 3, 2)
		f := p.wait("unsubscribe", 1)
		p.say(msg{"type": "error", "ref": f.Ref, "code": "unavailable", "message": "later"})
		f = p.wait("unsubscribe", 2)
		if n := len(p.sent("subscribe")); n > 0 {
			t.Errorf("%d subscribes before the cursor has ended", n)
		}
		p.say(msg{"type": "unsubscribed", "ref": f.Ref, "to": to})
		if f := p.wait("subscribe", 1); f.After != "" {
			t.Errorf("it begins after %q", f.After)
		}
		p.subscribed(to, 5)
		if at, err := again.Ready(soon(t)); err != nil || at.Ms != 5 {
			t.Errorf("%v, %v", at, err)
		}
		p.event(to, 6, 5)
		got.want(t, "2", "6")
	})
}

// TestUnsubscribedOwn: before it is known who the user is its own target can be left, which the server refuses; it may be
// subscribed to again.
func TestUnsubscribedOwn(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.Device = "d" })
		var got list
		c.must("user:alice", got.handler).Unsubscribe()
		c.must("user:alice", got.handler)
		p := s.welcome(0)
		p.say(msg{"type": "subscribed", "to": "user:alice", "position": id(1), "recovered": true})
		f := p.wait("unsubscribe", 1)
		p.say(msg{"type": "error", "ref": f.Ref, "code": "bad_request", "message": "every connection has it"})
		p.wait("subscribe", 1)
		p.subscribed("user:alice", 1)
		p.event("user:alice", 2, 1)
		got.want(t, "2")
	})
}

// TestAckRefused: an acknowledgement that the server cannot take now is sent again.
func TestAckRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		_, p, _ := standing(t, s, func(o *client.Options) { o.Device = "phone-1" })
		p.event(to, 2, 1)
		p.wait("ack", 1)
		p.say(msg{"type": "error", "code": "unavailable", "message": "too many acknowledgements wait; acknowledge again"})
		synctest.Wait()
		at := time.Now()
		if f := p.wait("ack", 2); f.To != to || f.ID != "2-0" || time.Since(at) < 900*time.Millisecond {
			t.Errorf("%+v after %v", f, time.Since(at))
		}
		time.Sleep(5 * time.Second)
		if n := len(p.sent("ack")); n != 2 {
			t.Errorf("%d acks", n)
		}
	})
}

// TestGapOfAnotherPosition: a gap behind a position that is not its own any more is none.
func TestGapOfAnotherPosition(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.Device = "d" })
		var got list
		c.must(to, got.handler, client.After("1-0"), client.OnGap(got.gap))
		p := s.welcome(0)
		asked := p.wait("subscribe", 1)
		p.say(msg{"type": "subscribed", "to": to, "position": id(5), "recovered": true}) // where the device's cursor is
		p.event(to, 6, 5)
		p.say(msg{"type": "gap", "to": to, "after": id(1), "oldest": id(4), "position": id(8), "reason": "trimmed"}) // to what was asked
		p.say(msg{"type": "subscribed", "ref": asked.Ref, "to": to, "position": id(8), "recovered": true})
		if f := p.wait("subscribe", 2); f.After != "6-0" {
			t.Errorf("%+v", f)
		}
		p.subscribed(to, 6)
		p.event(to, 7, 6)
		got.want(t, "6", "7")
	})
}

// TestAckWaits: what was handled before a break is acknowledged when the server has said that the target flows again, not before: it
// would not know that it was sent.
func TestAckWaits(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		_, p, got := standing(t, s, func(o *client.Options) { o.Device = "phone-1" })
		p.event(to, 2, 1)
		got.want(t, "2")
		_ = p.ws.Close()
		p = s.welcome(1)
		time.Sleep(time.Second)
		if acks := p.sent("ack"); len(acks) > 0 {
			t.Errorf("too early: %+v", acks)
		}
		p.say(msg{"type": "subscribed", "to": to, "position": "2-0", "recovered": true})
		if f := p.wait("ack", 1); f.To != to || f.ID != "2-0" {
			t.Errorf("%+v", f)
		}
	})
}
