package limits

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBucket(t *testing.T) {
	const rate = Rate(20)
	var b Bucket
	now := time.Hour
	for i := range rate.Burst() {
		if wait := b.Take(now, rate, 1); wait != 0 {
			t.Fatalf("%d of a burst of %d is told to wait %v", i, rate.Burst(), wait)
		}
	}
	if wait := b.Take(now, rate, 1); wait != time.Second/20 {
		t.Errorf("after the burst: wait %v, want 50ms", wait)
	}
	if wait := b.Take(now, rate, 4); wait != time.Second/5 {
		t.Errorf("for four: wait %v, want 200ms", wait)
	}
	now += 50 * time.Millisecond // as it was told, and what was refused took nothing
	if b.Take(now, rate, 1) != 0 || b.Take(now, rate, 1) == 0 {
		t.Error("after the wait there is one, and no more")
	}
	now += BurstTime
	if !b.IsFull(now) {
		t.Error("it does not fill")
	}
	if b.Take(now, rate, 1e9) != 0 || b.Take(now, rate, 1) == 0 {
		t.Error("more than fits counts as a full bucket")
	}
	if wait := b.Take(now, 0, 1); wait != 0 {
		t.Error("no rate is no limit")
	}
}

func TestBucketOfManyHands(t *testing.T) {
	const rate = Rate(100)
	var b Bucket
	var all sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 8 {
		all.Go(func() {
			n := 0
			for range 500 {
				if b.Take(0, rate, 1) == 0 {
					n++
				}
			}
			mu.Lock()
			taken += n
			mu.Unlock()
		})
	}
	all.Wait()
	if taken != rate.Burst() {
		t.Errorf("%d were taken of %d", taken, rate.Burst())
	}
}

// TestPartiesRemember: to hang up and come again is no way around a limit, and nobody is
// remembered for longer than that needs.
func TestPartiesRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewParties()
		come := func(key string) *Party {
			party, ok := p.Enter(key, 2)
			if !ok {
				t.Fatal("refused")
			}
			return party
		}
		a := come("a")
		for a.Frames.Take(p.Now(), 10, 1) == 0 {
		}
		p.Leave(a)
		if a = come("a"); a.Frames.Take(p.Now(), 10, 1) == 0 {
			t.Error("who comes again has a full bucket")
		}
		come("a")
		if _, ok := p.Enter("a", 2); ok {
			t.Error("a third connection of two")
		}
		p.Leave(a)
		p.Leave(a)
		p.Leave(come("idle"))
		if n := p.Len(); n != 1 {
			t.Errorf("%d are remembered, want only the one that used its bucket", n)
		}
		time.Sleep(BurstTime)
		if n := p.Len(); n != 0 || len(p.left) != 0 {
			t.Errorf("%d are remembered after their time", n)
		}
	})
}

// TestPartyThatComesAndGoes is not forgotten while its bucket is not full, and is once in
// the list.
func TestPartyThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewParties()
		first, _ := p.Enter("a", 0)
		p.Leave(first)
		for range 100 {
			party, _ := p.Enter("a", 0)
			party.Publishes.Take(p.Now(), 1, 3)
			p.Leave(party)
			time.Sleep(BurstTime / 7)
			if len(p.left) > 1 {
				t.Fatalf("it is in the list %d times", len(p.left))
			}
		}
		if p.parties["a"] == nil {
			t.Error("it was forgotten though its bucket is not full")
		}
		time.Sleep(2 * BurstTime)
		if p.Len() != 0 {
			t.Error("it is remembered for ever")
		}
		time.Sleep(BurstTime)
		p.Len()
		if len(p.left) != 0 {
			t.Error("the list is not empty")
		}
	})
}

func TestHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewParties()
		n := 0
		for p.Handshake("a", 100) == 0 {
			n++
		}
		if n != 1000 {
			t.Errorf("%d handshakes at once, want 1000", n)
		}
		if p.Handshake("b", 100) != 0 {
			t.Error("another address waits for it")
		}
		if wait := p.Handshake("a", 100); wait != 10*time.Millisecond {
			t.Errorf("it is told to wait %v", wait)
		}
		time.Sleep(BurstTime)
		if p.Len() != 0 {
			t.Error("addresses are remembered for ever")
		}
	})
}
