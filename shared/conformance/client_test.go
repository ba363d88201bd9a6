package conformance_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"sluice/shared/client"
	"sluice/shared/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play plays a script to a client that run starts with the URL, until its context ends.
func play(t *testing.T, script conformance.Script, patience time.Duration, run func(ctx context.Context, url string)) error {
	t.Helper()
	s, err := conformance.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Patience = patience
	defer func() { _ = s.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx, s.URL(script.Name))
	}()
	err = s.Play(ctx, script)
	stop()
	<-ended
	return err
}

// TestGoClient: the Go client passes every script.
func TestGoClient(t *testing.T) {
	for _, script := range scripts(t) {
		t.Run(script.Name, func(t *testing.T) {
			t.Parallel()
			if err := play(t, script, 0, goClient(t)); err != nil {
				t.Errorf("%s\n%v", script.Promise, err)
			}
		})
	}
}

// goClient is the program that docs/conformance.md asks for, with the Go client.
func goClient(t *testing.T) func(ctx context.Context, url string) {
	return func(ctx context.Context, url string) {
		var c *client.Client
		report := func(data any) error {
			_, err := c.Send(client.Publication{To: conformance.Target, Data: data})
			return err
		}
		c, err := client.New(client.Options{
			URL: url, MinBackoff: 100 * time.Millisecond, MaxBackoff: time.Second,
			Token:   func(context.Context, bool) (string, error) { return "kit", nil },
			OnGap:   func(_ context.Context, g *client.Gap) error { return report(map[string]string{"gap": g.Reason}) },
			OnError: func(error) {},
		})
		if err != nil {
			t.Error(err)
			return
		}
		handle := func(_ context.Context, e *client.Event) error { return report(e.Data) }
		if _, err := c.Subscribe(conformance.Target, handle); err != nil {
			t.Error(err)
			return
		}
		_ = c.Run(ctx) // it ends with ctx, or by a close code
	}
}

func scripts(t *testing.T) []conformance.Script {
	t.Helper()
	all, err := conformance.Scripts()
	if err != nil || len(all) < 15 {
		t.Fatalf("%d scripts, %v", len(all), err)
	}
	return all
}

// naive is a client that does what many do: it hands out all that comes, keeps the last id, and comes back at once.
func naive(ctx context.Context, url string) {
	last := ""
	for ctx.Err() == nil {
		ws, _, err := websocket.DefaultDialer.DialContext(ctx, strings.Replace(url, "http", "ws", 1)+"/v1/ws", nil)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = ws.Close() })
		_ = ws.WriteJSON(map[string]any{"type": "connect", "token": "kit"})
		_ = ws.WriteJSON(map[string]any{"type": "subscribe", "to": conformance.Target, "after": last})
		for {
			var f struct {
				Type, To, ID, Reason string
				Data                 json.RawMessage
			}
			if ws.ReadJSON(&f) != nil {
				break
			}
			if f.Type == "event" {
				last = f.ID
				_ = ws.WriteJSON(map[string]any{"type": "publish", "to": conformance.Target, "data": f.Data})
			}
		}
		stop()
		_ = ws.Close()
	}
}

// TestNaiveClient: the kit says what is wrong with one that keeps few promises, and nothing where there is nothing.
func TestNaiveClient(t *testing.T) {
	wrong := map[string]string{
		"order": "", "resume": "", "large-ids": "", "unknown": "",
		"first-position": `it asked for what comes after "", not after "10-0"`,
		"repeats":        `it reported {"n":1} {"n":2} {"n":2}`,
		"gap":            `it reported {"n":1} {"n":2}`,
		"live-only":      `it asked for what comes after "", not after "11-0"`,
		"others":         `it reported {"n":9}`,
		"goaway":         "it came back after",
		"overloaded":     "it came back after",
		"forbidden":      "it came back after",
		"lost-answer":    `{"again":true}: in`,
	}
	for _, script := range scripts(t) {
		want, known := wrong[script.Name]
		if !known {
			continue
		}
		delete(wrong, script.Name)
		t.Run(script.Name, func(t *testing.T) {
			t.Parallel()
			patience := time.Duration(0)
			if script.Name == "lost-answer" {
				patience = 2 * time.Second // all of it passes
			}
			err := play(t, script, patience, naive)
			if said := ""; err != nil {
				said = err.Error()
				if want == "" || !strings.Contains(said, want) {
					t.Errorf("it said %q, want %q", said, want)
				}
			} else if want != "" {
				t.Errorf("it said nothing, want %q", want)
			}
		})
	}
	for name := range wrong {
		t.Errorf("there is no script %q", name)
	}
}
