package sessions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// hashes are the session Hashes as Redis would have them.
type hashes struct {
	mu     sync.Mutex
	fields map[store.Session]int64
	writes int  // of fields
	down   bool // commands fail, and have no effect
	late   bool // commands fail, and have their effect all the same
	bad    map[string]bool
}

var errDown = errors.New("no link")

func (h *hashes) Register(_ context.Context, _ string, expires int64, sessions []store.Session, about ...string) ([]bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range sessions {
		want := ""
		if wire.IsUser(s.Target) {
			want = "about " + s.Field
		}
		if about[i] != want {
			return nil, fmt.Errorf("%+v is written with %q", s, about[i])
		}
	}
	h.writes += len(sessions)
	if h.down {
		return nil, errDown
	}
	added, refused := make([]bool, len(sessions)), store.RefusedSessions{}
	for i, s := range sessions {
		if h.bad[s.Target] {
			refused[s] = &store.BadKey{Key: s.Target, Why: "WRONGTYPE"}
			continue
		}
		_, there := h.fields[s]
		added[i], h.fields[s] = !there, expires
	}
	switch {
	case h.late:
		return nil, errDown
	case len(refused) > 0:
		return added, refused
	}
	return added, nil
}

func (h *hashes) Unregister(_ context.Context, _ string, gone []store.Unregistration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return errDown
	}
	for _, u := range gone {
		if h.fields[u.Session] <= u.Expires {
			delete(h.fields, u.Session)
		}
	}
	return nil
}

func (h *hashes) Partition(target string) int { return int(target[len(target)-1]) % 2 }
func (h *hashes) NowMs() int64                { return time.Now().UnixMilli() }

func (h *hashes) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *hashes) has(t *testing.T, want ...string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	targets := map[string]bool{}
	for s := range h.fields {
		targets[s.Target] = true
	}
	wanted := map[string]bool{}
	for _, w := range want {
		wanted[w] = true
	}
	if !maps.Equal(targets, wanted) {
		t.Errorf("fields for %v, want %v", targets, want)
	}
}

// run begins a test with Sessions that are being written, in a bubble with its own clock.
func run(t *testing.T, test func(t *testing.T, h *hashes, s *Sessions, missed func() []string)) {
	synctest.Test(t, func(t *testing.T) {
		h := &hashes{fields: map[store.Session]int64{}, bad: map[string]bool{}}
		var mu sync.Mutex
		var all []string
		s := New(Options{
			Server: "g1", Store: h, Partitions: 2, TTL: time.Minute, Failed: func() {}, Log: slog.New(slog.DiscardHandler),
			About: func(conn string) string { return "about " + conn },
			Missed: func(target string, since int64) {
				mu.Lock()
				ago := time.Duration(time.Now().UnixMilli()-since) * time.Millisecond
				all = append(all, fmt.Sprint(target, " ", ago.Round(time.Second)))
				mu.Unlock()
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		test(t, h, s, func() []string {
			mu.Lock()
			defer mu.Unlock()
			return all
		})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsWantedIsWritten(t *testing.T) {
	run(t, func(t *testing.T, h *hashes, s *Sessions, missed func() []string) {
		s.Want("topic:0", "c")
		if err := s.Wait(t.Context(), "topic:0", "c"); err != nil {
			t.Error(err)
		}
		h.has(t, "topic:0")
		s.Drop("topic:0", "c")
		if err := s.Wait(t.Context(), "topic:0", "c"); err != nil || !s.Settled() {
			t.Errorf("%v, settled %v", err, s.Settled())
		}
		h.has(t)
		// The last word counts, whatever was asked for in between.
		s.Want("topic:1", "c")
		s.Drop("topic:1", "c")
		s.Want("topic:1", "c")
		synctest.Wait()
		h.has(t, "topic:1")
		time.Sleep(5 * time.Minute) // what is wanted is renewed
		synctest.Wait()
		for f, expires := range h.fields {
			if expires < h.NowMs() {
				t.Errorf("%v has expired", f)
			}
		}
		if len(missed()) > 0 {
			t.Errorf("looked at %v, which were always there", missed())
		}
	})
}

// TestUserIsRenewedByItsClient: not by the clock, since nobody else knows that it lives.
func TestUserIsRenewedByItsClient(t *testing.T) {
	run(t, func(t *testing.T, h *hashes, s *Sessions, _ func() []string) {
		s.Want("user:a", "c")
		time.Sleep(45 * time.Second)
		s.Renew("user:a", "c")
		s.Renew("user:b", "c") // of which nobody knows
		time.Sleep(45 * time.Second)
		synctest.Wait()
		h.has(t, "user:a")
		for f, expires := range h.fields {
			if left := time.Duration(expires-h.NowMs()) * time.Millisecond; left < 10*time.Second || left > 20*time.Second {
				t.Errorf("%v ends in %v, a minute after its renewal", f, left)
			}
		}
	})
}

func TestRedisIsAway(t *testing.T) {
	run(t, func(t *testing.T, h *hashes, s *Sessions, _ func() []string) {
		s.Want("topic:0", "c")
		synctest.Wait()
		h.change(func() { h.down = true })
		s.Want("topic:1", "c")
		s.Drop("topic:0", "c")
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := s.Wait(short, "topic:1", "c"); !errors.Is(err, context.DeadlineExceeded) || s.Settled() {
			t.Errorf("%v, settled %v, while nothing can be written", err, s.Settled())
		}
		h.change(func() { h.down = false })
		if err := s.Wait(t.Context(), "topic:1", "c"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		h.has(t, "topic:1")
	})
}

// TestLateWrite: a write that seemed to fail is executed after the field was removed.
func TestLateWrite(t *testing.T) {
	run(t, func(t *testing.T, h *hashes, s *Sessions, _ func() []string) {
		h.change(func() { h.down = true })
		s.Want("topic:0", "c")
		time.Sleep(time.Second)
		h.change(func() { h.down = false })
		s.Drop("topic:0", "c")
		if err := s.Wait(t.Context(), "topic:0", "c"); err != nil {
			t.Fatal(err)
		}
		h.change(func() {
			h.fields[store.Session{Target: "topic:0", Field: store.SessionField("topic:0", "c", "g1")}] = h.NowMs() + 59_000
		})
		time.Sleep(15 * time.Second)
		h.has(t)
	})
}

// TestLost: fields that Redis has lost are written again, and only the targets that had
// none for a while are looked at.
func TestLost(t *testing.T) {
	run(t, func(t *testing.T, h *hashes, s *Sessions, missed func() []string) {
		for _, target := range []string{"topic:0", "topic:1", "topic:2"} {
			s.Want(target, "c")
		}
		synctest.Wait()
		h.change(func() {
			maps.DeleteFunc(h.fields, func(s store.Session, _ int64) bool { return s.Target != "topic:2" })
		})
		s.AgainOf(0)
		synctest.Wait()
		h.has(t, "topic:0", "topic:2")
		s.Again()
		synctest.Wait()
		h.has(t, "topic:0", "topic:1", "topic:2")
		if got := missed(); len(got) != 2 || got[0] != "topic:0 0s" || got[1] != "topic:1 0s" {
			t.Errorf("looked at %q", got)
		}

		// It was lost since it was last written, or has expired since nobody could write it.
		time.Sleep(5 * time.Second)
		h.change(func() { clear(h.fields) })
		s.AgainOf(0)
		synctest.Wait()
		h.change(func() { h.bad["topic:1"] = true })
		time.Sleep(10 * time.Minute)
		h.change(func() { clear(h.bad) })
		time.Sleep(time.Minute)
		slices.Sort(missed()[2:])
		if got := missed()[2:]; len(got) != 3 || got[0] != "topic:0 5s" || got[1] != "topic:1 9m20s" || got[2] != "topic:2 5s" {
			t.Errorf("looked at %q", got)
		}
	})
}

// TestBadKey: only those that want it hear of it, and it is well again when the key is.
func TestBadKey(t *testing.T) {
	run(t, func(t *testing.T, h *hashes, s *Sessions, _ func() []string) {
		h.bad["topic:0"] = true
		s.Want("topic:0", "c")
		s.Want("topic:1", "c")
		var bad *store.BadKey
		if err := s.Wait(t.Context(), "topic:0", "c"); !errors.As(err, &bad) {
			t.Errorf("%v, want that the key is bad", err)
		}
		if err := s.Wait(t.Context(), "topic:1", "c"); err != nil {
			t.Error(err)
		}
		h.change(func() { delete(h.bad, "topic:0") })
		time.Sleep(30 * time.Second)
		if err := s.Wait(t.Context(), "topic:0", "c"); err != nil {
			t.Error(err)
		}
		h.has(t, "topic:0", "topic:1")
	})
}

// TestMany: more than one batch, once each.
func TestMany(t *testing.T) {
	run(t, func(t *testing.T, h *hashes, s *Sessions, _ func() []string) {
		const n = 3*writeBatch + 1
		for i := range n {
			s.Want("user:a", string(rune('a'+i%26))+time.Duration(i).String())
		}
		synctest.Wait()
		if len(h.fields) != n || h.writes != n {
			t.Errorf("%d fields by %d writes, want %d", len(h.fields), h.writes, n)
		}
	})
}
