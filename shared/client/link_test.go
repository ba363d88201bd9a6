package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/client"
)

func none(context.Context, *client.Event) error { return nil }

// TestHello: it says who it is and what it has, as far as there is room in a message.
func TestHello(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.Device, o.Retained = "d-1", true })
		for n := range 200 {
			c.must(fmt.Sprint("topic:", n), none)
		}
		p := s.welcome(0)
		hello := p.wait("connect", 1)
		if hello.Token != "token" || hello.Device != "d-1" || hello.OnGap != "retained" || len(hello.Resume.Positions) > 0 {
			t.Errorf("%+v", hello)
		}
		for n := range 200 {
			p.say(msg{"type": "subscribed", "to": fmt.Sprint("topic:", n), "position": "1700000000000-0", "recovered": true})
		}
		synctest.Wait()
		p.close(1006, "")
		_ = p.ws.Close()
		p = s.welcome(1)
		resume := p.wait("connect", 1).Resume.Positions
		p.wait("subscribe", 200-len(resume))
		if text, _ := json.Marshal(resume); len(text) > 4500 || len(resume) < 50 || len(resume) > 180 {
			t.Errorf("%d positions in connect", len(resume))
		}
		for _, f := range p.sent("subscribe") {
			if _, ok := resume[f.To]; ok || f.After != "1700000000000-0" {
				t.Errorf("%+v", f)
			}
		}
	})
}

// TestConnectRefused: targets of `connect` are asked for one by one if one of them is refused.
func TestConnectRefused(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		a, b := c.must("topic:a", none), c.must("topic:b", none)
		p := s.welcome(0)
		p.wait("subscribe", 2)
		p.subscribed("topic:a", 1)
		p.subscribed("topic:b", 1)
		synctest.Wait()
		_ = p.ws.Close()
		p = s.welcome(1)
		synctest.Wait()
		if n := len(p.sent("subscribe")); n != 0 {
			t.Errorf("%d subscribes", n)
		}
		p.say(msg{"type": "error", "code": "forbidden", "message": "topic:b: no"})
		p.wait("subscribe", 2)
		p.say(msg{"type": "subscribed", "to": "topic:a", "position": "1-0", "recovered": true}) // has been asked for again
		for _, f := range p.sent("subscribe") {
			if f.To == "topic:b" {
				p.say(msg{"type": "error", "ref": f.Ref, "code": "forbidden", "message": "no"})
			}
		}
		<-b.Done()
		p.subscribed("topic:a", 1)
		synctest.Wait()
		c.note(func() {
			if len(c.resumed) != 1 || c.resumed[0].Recovered || len(c.resumed[0].Targets) != 2 || !isCode(b.Err(), "forbidden") || a.Err() != nil {
				t.Errorf("%+v, %v", c.resumed, b.Err())
			}
		})
	})
}

// TestBackoff: it comes back after a floor and a random part of what doubles.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.MinBackoff, o.MaxBackoff = 100*time.Millisecond, time.Second })
		n := 0
		for ; n < 8; n++ {
			p := s.peer(n)
			p.wait("connect", 1)
			_ = p.ws.Close()
		}
		s.peer(n)
		spans := []int{100, 200, 400, 800, 900, 900, 900, 900}
		different := map[time.Duration]bool{}
		for i, w := range c.waits() {
			if w.RetryIn < 100*time.Millisecond || w.RetryIn > time.Duration(100+spans[i])*time.Millisecond {
				t.Errorf("attempt %d: %v", i, w.RetryIn)
			}
			different[w.RetryIn] = true
		}
		if len(different) < 5 {
			t.Errorf("no jitter: %v", different)
		}
		p := s.welcome(n)
		time.Sleep(11 * time.Second)
		p.close(1013, "busy")
		s.peer(n + 1)
		last := c.waits()[n]
		var closed *client.CloseError
		if !errors.As(last.Err, &closed) || closed.Code != 1013 || closed.Reason != "busy" || last.RetryIn > 200*time.Millisecond {
			t.Errorf("%+v", last)
		}
	})
}

func TestGoaway(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		p := s.welcome(0)
		p.say(msg{"type": "goaway", "after_ms": 1700, "reason": "this gateway restarts"})
		p.close(1012, "")
		s.peer(1)
		if w := c.waits(); len(w) != 1 || w[0].RetryIn != 1700*time.Millisecond {
			t.Errorf("%+v", w)
		}
	})
}

// TestCloseCodes say whether to come back.
func TestCloseCodes(t *testing.T) {
	for code, back := range map[int]bool{
		1000: true, 1001: true, 1011: true, 1012: true, 4001: true, 4003: true, 4401: true,
		1002: false, 1003: false, 1007: false, 1009: false, 4500: false, 4501: false, 4503: false,
	} {
		bubble(t, func(t *testing.T, s *server) {
			c := s.client(nil)
			s.welcome(0).close(code, "why")
			if back {
				s.peer(1)
				c.note(func() {
					if want := []bool{false, code == 4401}; !slices.Equal(c.tokens, want) {
						t.Errorf("%d: asked for tokens %v, want %v", code, c.tokens, want)
					}
				})
				return
			}
			var closed *client.CloseError
			if err := c.wait(); !errors.As(err, &closed) || closed.Code != code || closed.Reason != "why" || s.count() != 1 {
				t.Errorf("%d: %v", code, err)
			}
			if _, err := c.Subscribe(to, none); !errors.Is(err, client.ErrClosed) {
				t.Errorf("a subscribe afterwards: %v", err)
			}
		})
	}
}

// TestSilence: a silent link is asked, and left without an answer.
func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(nil)
		p := s.welcome(0)
		synctest.Wait()
		time.Sleep(31 * time.Second)
		if n := len(p.sent("ping")); n != 0 {
			t.Errorf("%d pings", n)
		}
		time.Sleep(time.Second)
		p.wait("ping", 1)
		p.say(msg{"type": "pong"})
		time.Sleep(30 * time.Second)
		_ = p.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) // the server's do as well
		time.Sleep(30 * time.Second)
		if n := len(p.sent("ping")); n != 1 {
			t.Errorf("%d pings", n)
		}
		p.wait("ping", 2)
		s.peer(1)
		if w := c.waits(); len(w) != 1 || !strings.Contains(w[0].Err.Error(), "the link is dead") {
			t.Errorf("%+v", w)
		}
	})
}

// TestNoAnswer: a server that does not welcome it, or a token that does not come, is given up.
func TestNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		slow := true
		c := s.client(func(o *client.Options) {
			o.Token = func(ctx context.Context, _ bool) (string, error) {
				if slow {
					slow = false
					<-ctx.Done()
					return "", ctx.Err()
				}
				return "token", nil
			}
		})
		begin := time.Now()
		s.peer(0)
		if d := time.Since(begin); d < 15*time.Second || d > 17*time.Second {
			t.Errorf("the token was waited for %v", d)
		}
		s.welcome(1)
		if w := c.waits(); len(w) != 2 || !errors.Is(w[0].Err, context.DeadlineExceeded) || !strings.Contains(w[1].Err.Error(), "no answer") {
			t.Errorf("%+v", w)
		}
	})
}

// TestTerminal: an error of Token that is ErrTerminal ends Run, any other one does not.
func TestTerminal(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		calls := 0
		c := s.client(func(o *client.Options) {
			o.Token = func(context.Context, bool) (string, error) {
				if calls++; calls < 3 {
					return "", errors.New("try again")
				}
				return "", fmt.Errorf("%w: signed out", client.ErrTerminal)
			}
		})
		waits := c.must(to, none)
		if err := c.wait(); !errors.Is(err, client.ErrTerminal) || calls != 3 || len(c.errors()) != 2 {
			t.Errorf("%v after %d calls", err, calls)
		}
		if _, err := waits.Ready(soon(t)); !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := c.Run(ctx); err == nil {
			t.Error("it ran twice")
		}
	})
}

// TestRetryAfter: a refusal by HTTP says when to come back. Over a real socket.
func TestRetryAfter(t *testing.T) {
	s := newServer(t)
	var once sync.Once
	s.refuse = func(w http.ResponseWriter) (refused bool) {
		once.Do(func() {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			refused = true
		})
		return refused
	}
	c := s.client(func(o *client.Options) { o.MinBackoff, o.MaxBackoff = time.Millisecond, 2*time.Millisecond })
	s.welcome(0)
	if w := c.waits(); len(w) != 1 || !strings.Contains(w[0].Err.Error(), "429") || w[0].RetryIn < time.Millisecond {
		t.Errorf("%+v", w)
	}
}

// TestUnreadable: what cannot be read ends the connection, not the client; what is too large ends it.
func TestUnreadable(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.MaxMessage = 1000 })
		c.must(to, none)
		n := 0
		for _, text := range []string{"", "null", "{", `{"type":"event","to":"topic:a","id":"x","prev":"1-0"}`,
			`{"type":"event","to":"topic:a","id":{}}`, `{"type":"event","to":"topic:a","id":"2-0"}`, "{\"type\":\"x\xff\"}"} {
			p := s.welcome(n)
			p.say(text)
			n++
			s.peer(n)
			if len(c.errors()) != n {
				t.Errorf("%q: %v", text, c.errors())
			}
		}
		p := s.welcome(n)
		p.say(`{"type":"something new","to":"topic:a"}`)
		p.say(msg{"type": "pong", "more": strings.Repeat("x", 1000)})
		if err := c.wait(); !errors.Is(err, websocket.ErrReadLimit) || s.count() != n+1 {
			t.Errorf("got %v", err)
		}
	})
}

// TestAnotherUser gets nothing of the one before, and the server is told nothing of that: its positions would count more than
// the cursors of this one's device.
func TestAnotherUser(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c := s.client(func(o *client.Options) { o.Device = "d" })
		var got list
		c.must(to, got.handler)
		p := s.welcome(0)
		p.wait("subscribe", 1)
		p.subscribed(to, 5)
		synctest.Wait()
		unsent, err := c.Send(client.Publication{To: to, Data: 1})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = p.ws.Close()
		p = s.peer(1)
		if f := p.wait("connect", 1); f.Resume.Positions[to] != "5-0" {
			t.Errorf("%+v", f.Resume)
		}
		p.say(msg{"type": "welcome", "user": "bob", "ping_ms": 25_000})
		if _, err := unsent.Wait(soon(t)); !errors.Is(err, client.ErrUserChanged) {
			t.Errorf("got %v", err)
		}
		<-p.over
		if len(p.sent("subscribe"))+len(p.sent("publish")) != 0 || c.User() != "bob" {
			t.Errorf("%v", p.frames)
		}
		p = s.peer(2)
		if f := p.wait("connect", 1); len(f.Resume.Positions) != 0 {
			t.Errorf("%+v", f.Resume)
		}
		p.say(msg{"type": "welcome", "user": "bob", "ping_ms": 25_000})
		if f := p.wait("subscribe", 1); f.After != "" {
			t.Errorf("%+v", f)
		}
		p.say(msg{"type": "subscribed", "to": to, "position": id(3), "recovered": true}) // where bob's cursor is
		p.event(to, 4, 3)
		got.want(t, "4")
		if errs := c.errors(); len(errs) != 1 || !errors.Is(errs[0], client.ErrUserChanged) {
			t.Errorf("%v", errs)
		}
	})
}

// TestErrorWithoutRef is told, and harms no target.
func TestErrorWithoutRef(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		c, p, got := standing(t, s, nil)
		p.say(msg{"type": "error", "code": "bad_request", "message": "this was not sent"})
		p.say(msg{"type": "error", "code": "unavailable", "message": "later"})
		p.event(to, 2, 1)
		got.want(t, "2")
		time.Sleep(5 * time.Second)
		if errs := c.errors(); len(errs) != 2 || !isCode(errs[0], "bad_request") || !isCode(errs[1], "unavailable") {
			t.Errorf("%v", errs)
		}
		if len(p.sent("subscribe")) != 1 || len(p.sent("unsubscribe")) != 0 || s.count() != 1 {
			t.Errorf("%v", p.frames)
		}
	})
}

// TestNotAGateway: what New refuses.
func TestNotAGateway(t *testing.T) {
	token := func(context.Context, bool) (string, error) { return "", nil }
	for _, o := range []client.Options{{Token: token}, {URL: "redis://x", Token: token}, {URL: "http://", Token: token}, {URL: "http://x"}, {URL: "http://[", Token: token}} {
		if _, err := client.New(o); err == nil {
			t.Errorf("%q was taken", o.URL)
		}
	}
	if _, err := client.New(client.Options{URL: "wss://x/behind/a/path?x=1#y", Token: token}); err != nil {
		t.Error(err)
	}
}
