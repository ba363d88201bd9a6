package inproc_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/gateway"
)

// BenchmarkResubscribe cuts the subscription of a gateway that has 50,000 targets, of
// which none had a loss, while events flow. One operation is a look at all of them.
func BenchmarkResubscribe(b *testing.B) {
	const (
		clients  = 50
		each     = 1000
		targets  = clients * each
		perGroup = 500
	)
	r := newRig(b)
	r.bare = true
	g := r.gateway(func(c *gateway.Config) { c.MaxTargets = each + 10 })
	r.worker()
	for n := 0; n < targets; n += perGroup {
		pipe := r.rdb.Pipeline()
		for i := n; i < n+perGroup; i++ {
			r.entry(pipe, "direct", fmt.Sprintf("topic:t%d", i), fmt.Sprintf(`{"n":%d,"pad":%q}`, i, strings.Repeat("x", 200)))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, patience, "all is retained", func() error { return pendingOf(r) })
	var all sync.WaitGroup
	for i := range clients {
		c := join(b, g, fmt.Sprint("u", i))
		all.Go(func() {
			for j := range each {
				c.send(msg{"type": "subscribe", "ref": strconv.Itoa(j), "to": fmt.Sprintf("topic:t%d", i*each+j)})
				if j%20 == 19 {
					c.answer(strconv.Itoa(j))
				}
			}
		})
	}
	all.Wait()
	live := join(b, g, "live", topics("live"))
	p := r.produce(200, 0, source{"direct", "topic:live"})
	flows(p, []*client{live})

	redisCPU := func() float64 {
		info := r.rdb.Info(ctx, "cpu").Val()
		sum := 0.0
		for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
			_, rest, _ := strings.Cut(info, "\n"+name)
			text, _, _ := strings.Cut(rest, "\r")
			seconds, err := strconv.ParseFloat(text, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += seconds
		}
		return sum
	}
	cpu, begin := redisCPU(), time.Now()
	for b.Loop() {
		looked := g.metric("sluice_gateway_looks_total")
		if err := r.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
			b.Fatal(err)
		}
		eventually(b, patience, "all targets have been looked at", func() error {
			if n := g.metric("sluice_gateway_looks_total") - looked; n < targets {
				return fmt.Errorf("%v have", n)
			}
			return nil
		})
	}
	b.ReportMetric((redisCPU()-cpu)*1e6/float64(b.N)/targets, "redis-us/target")
	b.ReportMetric(float64(longestPause(begin, p.sources, live).Milliseconds()), "live-pause-ms")
	b.StopTimer()
	counts := p.finish()
	live.mustHave(patience, "topic:live", 0, counts[0])
}
