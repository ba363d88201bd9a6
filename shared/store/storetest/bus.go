package storetest

import (
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
)

// listen subscribes a gateway and hands out the payloads that it hears.
func (x *suite) listen(t *testing.T, s *store.Store, server string) <-chan string {
	t.Helper()
	sub := s.Subscribe(server)
	_, subscribed, err := sub.Receive(t.Context())
	must(t, err)
	want(t, "subscribed", subscribed, true)
	heard := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			payload, _, err := sub.Receive(t.Context())
			if err != nil {
				return
			}
			heard <- payload
		}
	}()
	t.Cleanup(func() {
		_ = sub.Close()
		<-done
	})
	return heard
}

func (x *suite) bus(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	one, two := x.listen(t, s, "g1"), x.listen(t, s, "g2")
	out := []store.Outgoing{
		{Server: "g1", Payload: []byte("a")}, {Server: "g2", Payload: []byte("b")},
		{Server: "g3", Payload: []byte("c")}, {Server: "g1", Payload: []byte{0, 255, '\r', '\n'}},
	}
	must(t, s.Send(ctx, out))
	must(t, s.Send(ctx, nil))
	want(t, "first to g1", <-one, "a")
	want(t, "second to g1", <-one, "\x00\xff\r\n")
	want(t, "first to g2", <-two, "b")
	must(t, x.Client.Publish(ctx, "sluice:server:g2", "by hand").Err())
	want(t, "second to g2", <-two, "by hand")

	// Close ends a Receive that waits.
	sub := s.Subscribe("g4")
	_, _, err := sub.Receive(ctx)
	must(t, err)
	ended := make(chan error, 1)
	go func() {
		_, _, err := sub.Receive(ctx)
		ended <- err
	}()
	must(t, sub.Close())
	if err := <-ended; err == nil {
		t.Fatal("Receive on a closed subscription has no error")
	}
	if _, _, err := sub.Receive(ctx); err == nil {
		t.Fatal("Receive after Close has no error")
	}
}

// again receives until the subscription is confirmed again.
func again(t *testing.T, sub *store.Subscription) {
	t.Helper()
	Eventually(t, func() error {
		_, subscribed, err := sub.Receive(t.Context())
		if err == nil && !subscribed {
			t.Fatal("a message came before the subscription was confirmed again")
		}
		return err
	})
}

// cutSubscribers cuts the connections of all who listen, but a Sentinel's own, and returns
// how many they were.
func (x *suite) cutSubscribers(t *testing.T) (n int) {
	t.Helper()
	for _, master := range x.masters() {
		list, err := master.Do(t.Context(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
		must(t, err)
		for line := range strings.Lines(list) {
			id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
			if !strings.Contains(line, "name=sentinel-") {
				must(t, master.ClientKillByFilter(t.Context(), "ID", id).Err())
				n++
			}
		}
	}
	return n
}

// cut: after its connection was cut a subscription says that it is one again.
func (x *suite) busCut(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	sub := s.Subscribe("g1")
	defer func() { _ = sub.Close() }()
	again(t, sub)
	for range 3 {
		want(t, "connections cut", x.cutSubscribers(t), 1)
		must(t, s.Send(ctx, []store.Outgoing{{Server: "g1", Payload: []byte("lost")}}))
		_, _, err := sub.Receive(ctx)
		wantLink(t, "Receive on a cut connection", err)
		again(t, sub)
		must(t, s.Send(ctx, []store.Outgoing{{Server: "g1", Payload: []byte("heard")}}))
		payload, _, err := sub.Receive(ctx)
		must(t, err)
		want(t, "payload", payload, "heard")
	}
}

// restart: a subscription may begin before Redis is there, and outlives its restart.
func (x *suite) busRestart(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	node := x.at("sluice:server:g1")
	node.Stop()
	sub := s.Subscribe("g1")
	defer func() { _ = sub.Close() }()
	_, _, err := sub.Receive(ctx)
	wantLink(t, "Receive without Redis", err)
	for range 2 {
		node.Restart()
		again(t, sub)
		Eventually(t, func() error { // connections of before the restart fail once
			return s.Send(ctx, []store.Outgoing{{Server: "g1", Payload: []byte("x")}})
		})
		payload, _, err := sub.Receive(ctx)
		must(t, err)
		want(t, "payload", payload, "x")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _, _ = sub.Receive(ctx)
	}()
	must(t, sub.Close())
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("Close does not end a Receive")
	}
}
