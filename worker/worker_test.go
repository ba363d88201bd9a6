package worker

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/shared/settings"
	"sluice/shared/store"
	"sluice/shared/store/storetest"
)

// newWorker makes a worker that says nothing.
func newWorker(st *store.Store, cfg Config) *Worker {
	if cfg.Acks.CursorTTL == 0 {
		cfg.Acks.CursorTTL = time.Hour
	}
	if cfg.Slow.Attempts == 0 {
		cfg.Slow = SlowConfig{Attempts: 12, Timeout: 45 * time.Second}
	}
	return New(Options{Store: st, Config: cfg, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
}

// newStepLane makes a lane over the partitions of a worker that says nothing. It is not run.
func newStepLane(tb testing.TB, st *store.Store) *lane {
	tb.Helper()
	conn, err := st.NewLane(false)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	w := newWorker(st, Config{})
	return newLane(w, conn, w.together()[0], w.share, newStep(w))
}

// start runs something until stop or the end of the test; it must end without an error.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func roleNames(some []role) (names []string) {
	for _, r := range some {
		names = append(names, r.name)
	}
	return names
}

// TestRoles: which roles a worker has, and what it says of those that there are not.
func TestRoles(t *testing.T) {
	every := roleNames(roles())
	for _, tc := range []struct{ given, want []string }{
		{nil, every},
		{[]string{"all"}, every},
		{[]string{"slow", "all"}, every},
		{[]string{"slow", " events ", "slow", ""}, []string{"events", "slow"}},
		{[]string{"acks"}, []string{"acks"}},
		{[]string{"lanes"}, nil},
		{[]string{"all", "lanes"}, nil},
		{[]string{"Acks"}, nil},
		{[]string{"", ""}, nil},
		{[]string{" "}, nil},
	} {
		some, err := chosen(tc.given)
		if got := roleNames(some); !slices.Equal(got, tc.want) {
			t.Errorf("%q chooses %q, want %q", tc.given, got, tc.want)
		}
		var problem settings.Invalid
		bad := errors.As(err, &problem)
		if bad == (tc.want != nil) {
			t.Errorf("%q: the error is %v", tc.given, err)
		}
		if bad && (problem.Value != strings.Join(tc.given, ",") || !strings.Contains(problem.Error(), "SLUICE_ROLES")) {
			t.Errorf("%q: the error is %v", tc.given, err)
		}
		cfg := Config{Roles: tc.given, TargetCache: 2}
		if valid := cfg.Validate() == nil; valid != (tc.want != nil) {
			t.Errorf("%q is valid: %v", tc.given, valid)
		}
	}
	field, _ := reflect.TypeFor[Config]().FieldByName("Roles")
	if tag := field.Tag.Get("allow"); tag != allowedRoles(every) {
		t.Errorf("-h allows %q, want %q", tag, allowedRoles(every))
	}
	for _, name := range every {
		if !strings.Contains(field.Tag.Get("help"), name+" (") {
			t.Errorf("-h does not tell what the role %s is", name)
		}
	}
}

// TestUnknownRole: a Config that was made by hand is checked, too.
func TestUnknownRole(t *testing.T) {
	st := storetest.Open(t, storetest.OnEmbedded(t).URL, nil)
	var problem settings.Invalid
	if err := newWorker(st, Config{Roles: []string{"lanes"}}).Run(t.Context()); !errors.As(err, &problem) {
		t.Errorf("a worker with an unknown role ends with %v", err)
	}
}

// TestInTurn: rows of parts end from the last to the first, those of a row together, and a
// part that fails ends all of them.
func TestInTurn(t *testing.T) {
	for _, fails := range []string{"", "a", "c"} {
		t.Run("fails "+fails, func(t *testing.T) {
			var mu sync.Mutex
			var ended []string
			running := sync.WaitGroup{}
			running.Add(4)
			together := sync.WaitGroup{}
			together.Add(2)
			broken := errors.New("broken")
			one := func(name string, stops func()) part {
				return partFunc(func(ctx context.Context) error {
					running.Done()
					if name == fails {
						running.Wait()
						return broken
					}
					<-ctx.Done()
					if fails == "" {
						stops()
					}
					mu.Lock()
					ended = append(ended, name)
					mu.Unlock()
					return nil
				})
			}
			meet := func() { together.Done(); together.Wait() }
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			done := make(chan error, 1)
			go func() {
				done <- inTurn(ctx, [][]part{{one("a", func() {})}, {one("b1", meet), one("b2", meet)}, {one("c", func() {})}})
			}()
			running.Wait()
			if fails == "" {
				stop()
			}
			err := <-done
			switch {
			case fails != "":
				if !errors.Is(err, broken) || len(ended) != 3 {
					t.Errorf("it ends with %v, and these end by themselves: %v", err, ended)
				}
			case err != nil || len(ended) != 4 || ended[0] != "c" || ended[3] != "a":
				t.Errorf("it ends with %v, in the order %v", err, ended)
			}
		})
	}
}
