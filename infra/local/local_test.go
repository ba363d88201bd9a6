package local

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/infra/local/page/pagetest"
	"sluice/shared/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is what a newcomer reads.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs an installation until the test ends, and returns what it said.
func start(t *testing.T, environ map[string]string) *output {
	t.Helper()
	var cfg Config
	for name, value := range Defaults {
		if environ[name] == "" {
			environ[name] = value
		}
	}
	if err := settings.Load(&cfg, environ); err != nil {
		t.Fatal(err)
	}
	out := &output{}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, out, slog.New(slog.NewTextHandler(out, nil))) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); !strings.Contains(out.String(), "Ctrl-C"); <-tick {
		if time.Now().After(deadline) {
			t.Fatalf("it does not start: %s", out)
		}
	}
	return out
}

// word is the word after a text in the output.
func word(t *testing.T, out *output, after string) string {
	t.Helper()
	_, rest, found := strings.Cut(out.String(), after)
	if f := strings.Fields(rest); found && len(f) > 0 {
		return strings.Trim(f[0], "'")
	}
	t.Fatalf("no %q in: %s", after, out)
	return ""
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := l.Addr().String()
	out := start(t, map[string]string{"SLUICE_ADDR": taken, "SLUICE_ADMIN_ADDR": "127.0.0.1:0"})
	if want := fmt.Sprintf("%s is taken (SLUICE_ADDR), using 127.0.0.1:", taken); !strings.Contains(out.String(), want) {
		t.Errorf("no %q in: %s", want, out)
	}
	if page := word(t, out, "page "); strings.Contains(page, taken) {
		t.Errorf("the page's address is the taken one: %s", page)
	}
}

// TestEventSource: a browser's own EventSource, whose stream the gateway ends again and again, comes back by itself with the
// positions that it was given, and has every event, once and in order.
func TestEventSource(t *testing.T) {
	out := start(t, map[string]string{"SLUICE_ADDR": "127.0.0.1:0", "SLUICE_ADMIN_ADDR": "127.0.0.1:0", "SLUICE_MAX_CONNECTION_AGE": "1s"})
	opts, err := redis.ParseURL(word(t, out, "redis-cli -u "))
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer func() { _ = rdb.Close() }()

	v := pagetest.New(t)
	v.Open(word(t, out, "page "))
	v.Eval(`(() => {
		window.got = []; window.opened = 0; window.subscribed = 0; window.gaps = 0;
		const events = new EventSource("/v1/sse?token=dev:alice&topics=room");
		events.onopen = () => window.opened++;
		events.onmessage = (e) => window.got.push(JSON.parse(e.data).data);
		events.addEventListener("sluice.subscribed", () => window.subscribed++);
		events.addEventListener("sluice.gap", () => window.gaps++);
	})()`)
	v.Wait(`window.subscribed >= 3`)
	const returns = 4
	n := 0
	for end := time.Now().Add(30 * time.Second); v.Eval(fmt.Sprint(`window.opened > `, returns)) != "true"; n++ {
		if time.Now().After(end) {
			t.Fatalf("the browser came back %s times, want %d", v.Eval(`window.opened - 1`), returns)
		}
		to := []string{"topic:room", "user:alice"}[n%2]
		if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "sluice:events", Values: []any{"to", to, "data", n}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	v.Wait(fmt.Sprintf(`window.got.length >= %d`, n))
	for rest, name := range []string{"topic:room", "user:alice"} {
		order := fmt.Sprintf(`window.got.filter((n) => n %% 2 === %d).every((n, i) => n === 2 * i + %d)`, rest, rest)
		if v.Eval(order) != "true" {
			t.Errorf("of %s came %s", name, v.Eval(`window.got.join(" ")`))
		}
	}
	if got := v.Eval(`window.got.length + " events, " + window.gaps + " gaps"`); got != fmt.Sprintf("%d events, 0 gaps", n) {
		t.Errorf("%s came of %d", got, n)
	}
}
