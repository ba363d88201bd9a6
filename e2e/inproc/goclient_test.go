package inproc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/gateway"
	"sluice/gateway/auth"
	sluice "sluice/shared/client"
	backend "sluice/shared/producer"
	"sluice/shared/wire"
)

// TestGoClient: events arrive in order and once, whatever happens to the link and the gateways.
func TestGoClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	c := newGoClient(t, g1, "alice")
	const target = "topic:links"
	got := c.collect(target)
	for n := 0; n < 60; n += 10 {
		r.add("direct", target, n, 5)
		c.road.lead([]*gatewayProcess{g1, g2}[n/10%2])
		c.road.cut()
		r.add("direct", target, n+5, 5)
		got.want(0, n+9)
	}
	_, resumed, gaps, errs := c.told()
	if len(resumed) < 5 || slices.ContainsFunc(resumed, func(r sluice.Resumed) bool { return !r.Recovered }) || len(gaps)+len(errs) > 0 {
		t.Errorf("resumed %v, gaps %v, errors %v", resumed, gaps, errs)
	}

	// A message that gets lost on its way is a hole, and mends itself.
	before := c.Stats().Holes
	c.road.mu.Lock()
	c.road.lose = `"data":62`
	c.road.mu.Unlock()
	for n := 60; n < 65; n++ {
		r.add("direct", target, n, 1)
	}
	got.want(0, 64)
	if n := c.Stats().Holes; n != before+1 {
		t.Errorf("%d holes", n-before)
	}

	// A gateway that dies.
	c.road.lead(g1)
	c.road.cut()
	r.add("direct", target, 65, 1)
	got.want(0, 65)
	c.road.lead(g2)
	g1.crash()
	c.road.cut()
	r.add("direct", target, 66, 5)
	got.want(0, 70)
}

// TestGoClientDarkLink: a link that says nothing any more is found dead.
func TestGoClientDarkLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.worker()
	g := r.gateway(fastPing)
	c := newGoClient(t, g, "alice")
	got := c.collect("topic:dark")
	c.road.darken(true)
	r.add("direct", "topic:dark", 0, 3)
	got.want(0, 2)
	waits, resumed, _, _ := c.told()
	var closed *sluice.CloseError
	if len(waits) == 0 || !errors.As(waits[0].Err, &closed) || closed.Reason != "the link is dead" || len(resumed) != 1 {
		t.Errorf("%v, %v", waits, resumed)
	}
}

// TestGoClientGoaway: a gateway that stops sends its clients to another one.
func TestGoClientGoaway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	// Only goaway can bring it back in time.
	c := newGoClient(t, g1, "alice", func(o *sluice.Options) { o.MinBackoff, o.MaxBackoff = time.Hour, time.Hour })
	got := c.collect("topic:drain")
	r.add("direct", "topic:drain", 0, 1)
	got.want(0, 0)
	c.road.lead(g2)
	g1.stop()
	r.add("direct", "topic:drain", 1, 2)
	got.want(0, 2)
	waits, _, _, _ := c.told()
	var closed *sluice.CloseError
	if len(waits) != 1 || !errors.As(waits[0].Err, &closed) || closed.Code != wire.CloseRestart || waits[0].RetryIn > time.Second {
		t.Errorf("%+v", waits)
	}
}

// TestGoClientTokens: an expired token is asked for again; one that is refused ends Run.
func TestGoClientTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.worker()
	const secret = "a secret of the tests, 32 bytes long"
	g := r.gateway(func(c *gateway.Config) { c.Auth = auth.Config{Mode: auth.ModeJWT, JWTSecret: secret} })
	sign := func(expires time.Time) string {
		d := &dialing{query: url.Values{}}
		token(secret, "alice", expires)(d)
		return d.query.Get("token")
	}
	c := newGoClient(t, g, "", func(o *sluice.Options) {
		ask := o.Token
		o.Token = func(ctx context.Context, expired bool) (string, error) {
			_, _ = ask(ctx, expired)
			if expired {
				return sign(time.Now().Add(time.Hour)), nil
			}
			return sign(time.Now().Add(-time.Hour)), nil
		}
	})
	got := c.collect("user:alice")
	r.add("direct", "user:alice", 0, 2)
	got.want(0, 1)
	c.mu.Lock()
	if !slices.Equal(c.expired, []bool{false, true}) {
		t.Errorf("asked for tokens: %v", c.expired)
	}
	c.mu.Unlock()
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var e *sluice.Error
	if _, err := c.Publish(soon, sluice.Publication{To: "all", Data: 1}); !errors.As(err, &e) || e.Code != wire.CodeForbidden {
		t.Errorf("a publish: %v", err)
	}

	refused, err := sluice.New(sluice.Options{URL: "http://" + g.addr, Token: func(context.Context, bool) (string, error) { return "nonsense", nil }})
	if err != nil {
		t.Fatal(err)
	}
	var closed *sluice.CloseError
	if err := refused.Run(ctx); !errors.As(err, &closed) || closed.Code != wire.CloseUnauthorized {
		t.Errorf("Run: %v", err)
	}
}

// TestGoClientGap: what is gone is told, once, before what follows.
func TestGoClientGap(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 20 })
	g, _, _, _ := r.pair()
	c := newGoClient(t, g, "alice", func(o *sluice.Options) { o.Retained = true })
	const target = "topic:gap"
	var got *numbersOf
	first := -1
	got = c.collect(target, sluice.OnGap(func(context.Context, *sluice.Gap) error {
		first = len(got.all())
		return nil
	}))
	r.add("direct", target, 0, 1)
	got.want(0, 0)
	c.road.lead(nil)
	c.road.cut()
	for n := 1; n < 300; n += 23 {
		r.add("direct", target, n, 23)
	}
	eventually(t, patience, "the last one is retained", func() error {
		last, err := r.rdb.XRevRangeN(ctx, r.key(target, "history"), "+", "-", 1).Result()
		if err != nil || len(last) == 0 || last[0].Values["data"] != "299" {
			return fmt.Errorf("there is %v, %w", last, err)
		}
		return nil
	})
	c.road.lead(g)
	eventually(t, patience, "the newest", func() error {
		if all := got.all(); all[len(all)-1] != 299 {
			return fmt.Errorf("there is %v", all)
		}
		return nil
	})
	all := got.all()
	_, resumed, gaps, _ := c.told()
	if len(gaps) != 1 || gaps[0].Reason != wire.GapTrimmed || first != 1 || len(all) < 20 || resumed[len(resumed)-1].Recovered {
		t.Errorf("gaps %+v before number %d, %v, %v", gaps, first, all, resumed)
	}
	for i, n := range all[1:] {
		if n != all[1]+i {
			t.Errorf("a hole behind the gap: %v", all)
		}
	}
}

// TestGoClientPublishes: they arrive once and in order, though links break, and answers get lost.
func TestGoClientPublishes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, _, _, _ := r.pair()
	const target = "topic:published"
	got := newGoClient(t, g, "bob").collect(target)
	c := newGoClient(t, g, "alice")
	eventually(t, patience, "connected", func() error {
		if c.User() == "" {
			return errors.New("it is not")
		}
		return nil
	})
	c.road.darken(false) // the answers do not come
	var pending []*sluice.Pending
	for n := range 30 {
		p, err := c.Send(sluice.Publication{To: target, Data: n, Event: "count"})
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	got.want(0, 0)
	c.road.cut()
	ids := map[wire.ID]bool{}
	for n, p := range pending {
		soon, cancel := context.WithTimeout(ctx, patience)
		done, err := p.Wait(soon)
		cancel()
		if err != nil || (n == 0 && !done.Duplicate) {
			t.Fatalf("number %d: %+v, %v", n, done, err)
		}
		ids[done.ID] = true
		if n%10 == 9 {
			c.road.cut()
		}
	}
	got.want(0, 29)
	if len(ids) != 30 {
		t.Errorf("%d ids", len(ids))
	}
}

// TestGoClientDevice: a device goes on where it acknowledged, with nothing kept.
func TestGoClientDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	const target = "topic:device"
	phone := func(o *sluice.Options) { o.Device = "phone-1" }
	cursor := func() string {
		return r.rdb.HGet(ctx, r.keyOf(wire.Partition("user:alice", r.cfg.Partitions), "cursor")+":user:alice", "phone-1 "+target).Val()
	}
	first := newGoClient(t, g1, "alice", phone)
	got := first.collect(target)
	begin := cursor()
	r.add("direct", target, 0, 2)
	got.want(0, 1)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the cursor moves", func() error {
		if c := cursor(); c == begin || c == "" || c == "0" {
			return fmt.Errorf("it is %q", c)
		}
		return nil
	})
	r.add("direct", target, 2, 3)

	second := newGoClient(t, g2, "alice", phone)
	got = second.collect(target)
	got.want(2, 4)
	got.sub.Unsubscribe()
	eventually(t, patience, "the cursor ends", func() error {
		if c := cursor(); !strings.HasSuffix(c, " ended") {
			return fmt.Errorf("it is %q", c)
		}
		return nil
	})
}

// TestProducerOverHTTP: a backend without Redis publishes by two gateways, of which one is killed and whose links break, and every event is
// there once and in order.
func TestProducerOverHTTP(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	const target, n = "topic:orders", 600
	got := newGoClient(t, g2, "bob").collect(target)
	way := &road{to: g1.addr}
	p, err := backend.New("http://"+g1.addr, backend.Options{
		Token:  func(context.Context) (string, error) { return "dev:shop", nil },
		Client: &http.Client{Transport: &http.Transport{DialContext: way.dialPlain}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	retries := 0
	b := backend.NewBuffer(p, backend.BufferOptions{Count: 50, OnRetry: func(error, time.Duration) { retries++ }})
	soon, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	for i := range n {
		switch i {
		case n / 6, n / 3, n / 2:
			way.cut()
		case 2 * n / 3:
			way.lead(g2)
			g1.crash()
			way.cut()
		}
		if err := b.Add(soon, backend.Event{To: target, Data: strconv.AppendInt(nil, int64(i), 10)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(soon); err != nil {
		t.Fatal(err)
	}
	got.want(0, n-1)
	t.Logf("requests were repeated %d times", retries)
	r.noDead()
}
