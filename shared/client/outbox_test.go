package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/shared/client"
	"sluice/shared/wire"
)

func (p *peer) published(f wire.ClientFrame, duplicate bool) {
	p.say(msg{"type": "published", "ref": f.Ref, "to": f.To, "id": "1-0", "duplicate": duplicate})
}

func (r *running) send(p client.Publication) *client.Pending {
	r.t.Helper()
	pending, err := r.Send(p)
	if err != nil {
		r.t.Fatal(err)
	}
	return pending
}

// TestOneAtATime: of a target one publish is under way at a time, and a repeat has the same key.
func TestOneAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		a := c.send(client.Publication{To: to, Data: "a", Event: "e"})
		b := c.send(client.Publication{To: to, Data: "b", LiveOnly: true, Key: "mine"})
		other := c.send(client.Publication{To: "topic:b", Data: "c"})
		p := s.welcome(0)
		p.wait("publish", 2)
		synctest.Wait()
		first := map[string]string{}
		for _, f := range p.sent("publish") {
			first[f.To] = f.ID
			if len(f.ID) < 20 || (f.To == to && (f.Event != "e" || string(f.Data) != `"a"`)) {
				t.Errorf("%+v", f)
			}
		}
		_ = p.ws.Close()
		p = s.welcome(1)
		begin := time.Now()
		p.wait("publish", 2)
		if d := time.Since(begin); d > time.Second {
			t.Errorf("they were repeated after %v", d)
		}
		for _, f := range p.sent("publish") {
			if f.ID != first[f.To] {
				t.Errorf("%s was repeated as %s, it was %s", f.To, f.ID, first[f.To])
			}
			p.published(f, f.To == to)
		}
		if got, err := a.Wait(soon(t)); err != nil || !got.Duplicate || got.To != to || got.ID.Ms != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := other.Wait(soon(t)); err != nil {
			t.Error(err)
		}
		f := p.wait("publish", 3)
		if string(f.Data) != `"b"` || f.ID != "mine" || !f.Retain.Off {
			t.Errorf("%+v", f)
		}
		p.published(f, false)
		if _, err := b.Wait(soon(t)); err != nil {
			t.Error(err)
		}
	})
}

// TestNoPublished: an answer that does not come is asked for again, as long as the key is known.
func TestNoPublished(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		p := s.welcome(0)
		pending := c.send(client.Publication{To: to, Data: 1})
		time.Sleep(16 * time.Second)
		if all := p.sent("publish"); len(all) != 2 || all[0].ID != all[1].ID {
			t.Errorf("%+v", all)
		}
		_ = p.ws.Close()
		time.Sleep(9 * time.Minute)
		s.welcome(s.count())
		if _, err := pending.Wait(soon(t)); !errors.Is(err, client.ErrUnknown) {
			t.Errorf("got %v", err)
		}
	})
}

// TestNeverSent: what never went out waits as long as it takes; a context ends that.
func TestNeverSent(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		token := make(chan struct{})
		c := s.client(func(o *client.Options) {
			o.Token = func(ctx context.Context, _ bool) (string, error) {
				select {
				case <-token:
					return "token", nil
				case <-ctx.Done():
					return "", ctx.Err()
				}
			}
		})
		pending := c.send(client.Publication{To: to, Data: 1})
		minute, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, err := c.Publish(minute, client.Publication{To: to, Data: 2}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		close(token)
		p := s.welcome(0)
		f := p.wait("publish", 1)
		p.published(f, false)
		if _, err := pending.Wait(soon(t)); err != nil || string(f.Data) != "1" {
			t.Errorf("%+v, %v", f, err)
		}
		synctest.Wait()
		if n := len(p.sent("publish")); n != 1 {
			t.Errorf("%d publishes", n)
		}
	})
}

// TestRefusedPublish: a refusal for now is tried again, before what comes behind it; any other one is told.
func TestRefusedPublish(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		p := s.welcome(0)
		a, b := c.send(client.Publication{To: to, Data: "a"}), c.send(client.Publication{To: to, Data: "b"})
		p.say(msg{"type": "error", "ref": p.wait("publish", 1).Ref, "code": "unavailable", "message": "later"})
		synctest.Wait()
		if n := len(p.sent("publish")); n != 1 {
			t.Errorf("%d publishes", n)
		}
		f := p.wait("publish", 2)
		if string(f.Data) != `"a"` {
			t.Errorf("%+v", f)
		}
		p.published(f, false)
		if _, err := a.Wait(soon(t)); err != nil {
			t.Error(err)
		}
		p.say(msg{"type": "error", "ref": p.wait("publish", 3).Ref, "code": "forbidden", "message": "no"})
		if _, err := b.Wait(soon(t)); !isCode(err, "forbidden") {
			t.Errorf("got %v", err)
		}
	})
}

// TestQueueFull: the queue is bounded in number and bytes, also of what is larger than a message.
func TestQueueFull(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.prepared(func(o *client.Options) { o.QueueCount, o.QueueBytes = 3, 9000 })
		one := c.send(client.Publication{To: to, Data: strings.Repeat("x", 6000)})
		if _, err := c.Send(client.Publication{To: to, Data: strings.Repeat("x", 4000)}); !errors.Is(err, client.ErrQueueFull) {
			t.Errorf("got %v", err)
		}
		two, three := c.send(client.Publication{To: to, Data: 2}), c.send(client.Publication{To: to, Data: 3})
		if _, err := c.Send(client.Publication{To: to, Data: 4}); !errors.Is(err, client.ErrQueueFull) {
			t.Errorf("got %v", err)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := two.Wait(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		four := c.send(client.Publication{To: to, Data: 4})
		c.run()
		p := s.welcome(0)
		if _, err := one.Wait(soon(t)); !isCode(err, "too_large") {
			t.Errorf("got %v", err)
		}
		if f := p.wait("publish", 1); string(f.Data) != "3" {
			t.Errorf("%+v", f)
		}
		_ = c.stop()
		for _, pending := range []*client.Pending{three, four} {
			if _, err := pending.Wait(soon(t)); !errors.Is(err, client.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := c.Send(client.Publication{To: to, Data: 5}); !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if _, err := c.Send(client.Publication{To: to, Data: func() {}}); err == nil {
			t.Error("a function was published")
		}
	})
}

// TestPublishInHandler: a handler may wait for the answer to what it publishes.
func TestPublishInHandler(t *testing.T) {
	s := newServer(t)
	c := s.client(nil)
	answered := make(chan error, 1)
	c.must(to, func(ctx context.Context, e *client.Event) error {
		_, err := c.Publish(ctx, client.Publication{To: "topic:b", Data: e.Data})
		answered <- err
		return err
	})
	p := s.welcome(0)
	p.wait("subscribe", 1)
	p.subscribed(to, 0)
	p.event(to, 1, 0)
	f := p.wait("publish", 1)
	p.published(f, false)
	if err := <-answered; err != nil || string(f.Data) != "1" {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestCall: calls are made one after the other, over a break under the same id, and end with what the server says.
func TestCall(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		type answer struct {
			data string
			err  error
		}
		call := func(ctx context.Context, name string) chan answer {
			done := make(chan answer, 1)
			go func() {
				data, err := c.Call(ctx, name, msg{"n": name})
				done <- answer{string(data), err}
			}()
			synctest.Wait() // so that the next one stands behind it
			return done
		}
		a, b := call(soon(t), "a"), call(soon(t), "b")
		p := s.welcome(0)
		first := p.wait("call", 1)
		time.Sleep(2 * time.Second)
		if n := len(p.sent("call")); n != 1 || first.Name != "a" || len(first.ID) < 20 || string(first.Data) != `{"n":"a"}` {
			t.Errorf("%d calls, the first one %+v", n, first)
		}
		_ = p.ws.Close()
		p = s.welcome(1)
		again := p.wait("call", 1)
		if again.ID != first.ID || again.Name != "a" {
			t.Errorf("it was made again as %+v, it was %+v", again, first)
		}
		p.say(msg{"type": "reply", "ref": again.Ref, "id": again.ID, "data": msg{"ok": 1}})
		if got := <-a; got.data != `{"ok":1}` || got.err != nil {
			t.Errorf("%+v", got)
		}
		p.say(msg{"type": "error", "ref": p.wait("call", 2).Ref, "code": "unavailable", "message": "late"})
		if got := <-b; !isCode(got.err, "unavailable") {
			t.Errorf("%+v", got)
		}

		limited := call(soon(t), "limited")
		p.say(msg{"type": "error", "ref": p.wait("call", 3).Ref, "code": "rate_limited", "message": "", "retry_after_ms": 100})
		p.say(msg{"type": "reply", "ref": p.wait("call", 4).Ref, "id": "1-0"})
		if got := <-limited; got.data != "" || got.err != nil {
			t.Errorf("%+v", got)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		given, behind := call(ctx, "given up"), call(soon(t), "behind")
		p.wait("call", 5)
		if got := <-given; !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("%+v", got)
		}
		at := time.Now()
		p.say(msg{"type": "reply", "ref": p.wait("call", 6).Ref, "id": "1-0"})
		if got := <-behind; got.err != nil || time.Since(at) > time.Second {
			t.Errorf("%+v, after %v", got, time.Since(at))
		}
	})
}
