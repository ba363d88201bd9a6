package binaries_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sluice/shared/testkit"

	"github.com/redis/go-redis/v9"
)

// wakeTime is how long it may take from an XADD to the request for a worker, besides what a busy machine takes for
// requests of the same kind: an XADD of another stream and an answer of the gateway.
const wakeTime = 200 * time.Millisecond

// TestScaleToZero: there is no worker until something waits for one. Then a gateway asks for it at once, so that the
// event is at the client's socket as soon as a worker can start; and the worker ends by itself. What a client does while
// there is none: it connects, subscribes, resumes, and publishes, which wakes one, too.
func TestScaleToZero(t *testing.T) {
	t.Parallel()
	rang := make(chan time.Time, 100)
	alarm := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			rang <- time.Now()
		}
	}))
	defer alarm.Close()
	c := newCluster(t, t, 0, 0)
	g := c.startGateway(t, "SLUICE_WAKE_URL="+alarm.URL)
	anna := join(t, g, "anna")
	anna.subscribe("topic:rare", "")

	// cycle lets a worker come, do what waits, and go; then, on the way to zero, nobody has to be asked for.
	cycle := func(waits func(), done func()) (asked, took time.Duration) {
		t.Helper()
		for len(rang) > 0 {
			<-rang
		}
		c.Del(ctx, "sluice:wake") // or it would not be asked again within 5 s
		begin := time.Now()
		waits()
		var at time.Time
		select {
		case at = <-rang:
		case <-time.After(patience):
			t.Fatal("nobody asked for a worker")
		}
		w := c.launchDraining(t)
		done()
		took = time.Since(begin)
		if code := w.ExitCode(t, patience); code != 0 {
			t.Fatalf("the worker ended with %d\n%s", code, w.Tail())
		}
		return at.Sub(begin), took
	}

	best := time.Hour
	events := 0
	for try := 0; try < 3 && best > wakeTime; try++ { // a busy machine may be late for once
		asked, took := cycle(func() { c.send(t, "topic:rare", number(events)) }, func() {
			events++
			anna.waitEvents("topic:rare", events)
		})
		t.Logf("a worker was asked for %v after the XADD; the event was there %v after that", asked, took-asked)
		begin := time.Now()
		c.XAdd(ctx, &redis.XAddArgs{Stream: "floor", Values: []string{"a", "b"}})
		if status, _ := g.get("/healthz"); status != http.StatusOK {
			t.Fatalf("/healthz gives %d", status)
		}
		best = min(best, asked-2*time.Since(begin))
	}
	if best > wakeTime {
		t.Errorf("a worker was asked for only %v after the XADD", best)
	}

	late := join(t, g, "bert")
	late.subscribe("topic:rare", "earliest")
	requireNumbers(t, "without a worker: the history", late.waitEvents("topic:rare", events), 0, events)
	back := connect(t, g, "anna", msg{"resume": msg{"topic:rare": "earliest"}})
	requireNumbers(t, "without a worker: resumed", back.waitEvents("topic:rare", events), 0, events)

	cycle(func() {
		late.send(msg{"type": "publish", "ref": "wakes", "to": "topic:rare", "data": msg{"n": events}})
	}, func() {
		late.wait("published", func(f frame) bool { return f.Type == "published" && f.Ref == "wakes" })
		for _, s := range []*client{anna, late, back} {
			requireNumbers(t, "what was published", s.waitEvents("topic:rare", events+1), 0, events+1)
		}
	})
	for _, key := range []string{"sluice:workers", c.partitionKey(0, "lease")} {
		if c.Exists(ctx, key).Val() != 0 {
			t.Errorf("there is no worker, and still %s", key)
		}
	}
}

// launchDraining starts a worker that ends when nothing has waited for a moment.
func (c *cluster) launchDraining(t *testing.T) *testkit.Process {
	t.Helper()
	return startProcess(t, t, "draining worker", binary(t, "worker"), []string{"-drain"}, "SLUICE_REDIS_URL="+c.urlFor("worker"),
		"SLUICE_ADMIN_ADDR="+testkit.FreeAddr(t), "SLUICE_DRAIN_IDLE=500ms", fmt.Sprintf("SLUICE_PARTITIONS=%d", c.partitions))
}
