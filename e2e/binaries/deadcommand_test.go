package binaries_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// deadCommand runs `worker dead ...` against the cluster's Redis and returns what it printed.
func (c *cluster) deadCommand(t *testing.T, code int, args ...string) string {
	t.Helper()
	p := startProcess(t, t, "worker dead", binary(t, "worker"), append([]string{"dead"}, args...), "SLUICE_REDIS_URL="+c.urlFor("worker"))
	if got := p.ExitCode(t, patience); got != code {
		t.Fatalf("worker dead %s exits with %d, want %d\n%s", strings.Join(args, " "), got, code, p.Tail())
	}
	return p.Printed()
}

// TestDeadCommand: dead letters are listed as they are, byte by byte; what is put back is delivered once, also when its
// producer repeats it; what is dropped is gone.
func TestDeadCommand(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1)
	const topic, raw = "topic:mended", "\xff\x00 no text"
	if out := c.deadCommand(t, 0, "list"); !strings.Contains(out, "no dead letters") {
		t.Errorf("an empty list reads %q", out)
	}
	if err := c.Set(ctx, c.history(topic), "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	c.send(t, topic, number(1), "id", "order-1")
	c.addAll(t, entry{c.intake(), []string{"data", raw}})
	eventually(t, func() error {
		if n := c.XLen(ctx, c.dead()).Val(); n != 2 {
			return fmt.Errorf("%d dead letters", n)
		}
		return nil
	})

	list := c.deadCommand(t, 0, "list")
	for _, want := range []string{"history_failed", "no_to", topic} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %q:\n%s", want, list)
		}
	}
	var mended string
	for line := range strings.Lines(c.deadCommand(t, 0, "list", "-json")) {
		var letter struct {
			ID, Reason     string
			Fields, Base64 map[string]string
		}
		if err := json.Unmarshal([]byte(line), &letter); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch letter.Reason {
		case "history_failed":
			mended = letter.ID
		case "no_to":
			if got, _ := base64.StdEncoding.DecodeString(letter.Base64["data"]); string(got) != raw || letter.Fields["data"] != "" {
				t.Errorf("the raw data reads %q", line)
			}
		}
	}

	reader := join(t, c.gateways[0], unique("reader"))
	if err := c.Del(ctx, c.history(topic)).Err(); err != nil {
		t.Fatal(err)
	}
	reader.subscribe(topic, "")
	c.deadCommand(t, 0, "requeue", mended)
	requireNumbers(t, topic, reader.waitEvents(topic, 1), 1, 2)
	c.deadCommand(t, 1, "requeue", mended) // it is gone
	// Its producer tries again. What it adds behind that, on the same way, tells that the repeat was dealt with.
	c.send(t, topic, number(1), "id", "order-1")
	c.send(t, topic, number(2))
	requireNumbers(t, topic, reader.waitEvents(topic, 2), 1, 3)

	c.deadCommand(t, 0, "drop", "all")
	if out := c.deadCommand(t, 0, "list"); !strings.Contains(out, "no dead letters") {
		t.Errorf("after dropping all the list reads %q", out)
	}
}
