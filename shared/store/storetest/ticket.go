package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tickets: each is taken once, by one of many, and forgotten in time.
func (x *suite) tickets(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	must(t, s.KeepTicket(ctx, "A", []byte(`{"user":"u"}`), 30*time.Second))
	if ttl := x.Client.PTTL(ctx, "sluice:ticket:A").Val(); ttl <= 25*time.Second || ttl > 30*time.Second {
		t.Fatalf("a ticket lives for %v, want 30 s", ttl)
	}
	var taken atomic.Int32
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if what, err := s.TakeTicket(ctx, "A"); err != nil {
				t.Error(err)
			} else if string(what) == `{"user":"u"}` {
				taken.Add(1)
			}
		})
	}
	wait.Wait()
	want(t, "how often a ticket was taken", taken.Load(), 1)
	what, err := s.TakeTicket(ctx, "never")
	must(t, err)
	want(t, "a ticket that never was", len(what), 0)

	must(t, s.KeepTicket(ctx, "B", []byte("x"), 50*time.Millisecond))
	Eventually(t, func() error {
		if n := x.Client.Exists(ctx, "sluice:ticket:B").Val(); n != 0 {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
	must(t, x.Client.LPush(ctx, "sluice:ticket:C", "x").Err())
	what, err = s.TakeTicket(ctx, "C")
	must(t, err)
	want(t, "a key of another type", len(what), 0)
}
