package main

import (
	"context"
	"fmt"
	"time"
)

var idle = scenario{
	name:  "idle",
	title: "10,000 idle connections on one gateway",
	about: "Each has its user, all and a topic of its own. They come in one burst, get 5 messages each, and rest. Memory is " +
		"resident memory beyond that of the empty gateway; the kernel's memory for a socket is not in it.",
	own: true,
	run: runIdle,
}

const (
	idleConnections = 10_000
	idleMessages    = 5
	idleRate        = 10_000 // events/s
)

func runIdle(ctx context.Context, b *bench) error {
	in, f, done, err := b.install(ctx, 1)
	if err != nil {
		return err
	}
	defer done()
	gateway := in.role(roleGateway)[0]
	n := b.cfg.n(idleConnections)

	memory := curve{Name: "RSS"}
	begin := time.Now()
	look := func() (float64, error) {
		rss, err := rssOf(gateway.pid())
		memory.At = append(memory.At, [2]float64{time.Since(begin).Seconds(), float64(rss) / (1 << 20)})
		return float64(rss), err
	}
	empty, err := look()
	if err != nil {
		return err
	}
	perConnection := func(rss float64) float64 { return (rss - empty) / float64(n) / 1024 }

	b.progress.enter(fmt.Sprintf("connecting %s clients", count(float64(n))))
	specs, targets := make([]spec, n), make([]*target, n)
	for i := range specs {
		name := in.name("idle", i)
		specs[i], targets[i] = in.user(i, name), &target{name: "user:" + name}
		specs[i].topics = []string{name}
	}
	if _, err := f.connect(ctx, specs, 0); err != nil {
		return err
	}
	burst, err := look()
	if err != nil {
		return err
	}

	b.progress.enter(fmt.Sprintf("%d messages to each", idleMessages))
	p, err := in.producer(ctx, b.cfg.via, b.cfg.size)
	if err != nil {
		return err
	}
	defer p.close()
	lasts := time.Duration(n*idleMessages) * time.Second / idleRate
	if err := b.publish(ctx, in, f, p, idleRate, lasts, func(i int) (*target, uint64) { return targets[i%n], 1 }); err != nil {
		return err
	}
	messages, err := look()
	if err != nil {
		return err
	}

	m := &meter{b: b, in: in, fleet: f, phase: "idle"}
	w, err := m.measure(ctx, func() error {
		for end := time.Now().Add(b.cfg.settle); time.Now().Before(end) && ctx.Err() == nil; {
			nap(min(time.Second, time.Until(end)))
			if _, err := look(); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	rest, err := look()
	if err != nil {
		return err
	}
	b.heap(ctx, gateway)

	b.figure("connections", float64(f.counts().open), "")
	b.figure("empty gateway", empty/(1<<20), "MiB")
	b.figure("after the burst", perConnection(burst), "KiB a connection")
	b.figure(fmt.Sprintf("after %d messages each", idleMessages), perConnection(messages), "KiB a connection")
	b.figure(fmt.Sprintf("after %v of rest", b.cfg.settle), perConnection(rest), "KiB a connection").atMost(5).
		note(fmt.Sprintf("the whole process: %.1f MiB", rest/(1<<20)))
	if w.took > 0 && b.cfg.settle > 0 {
		b.figure("CPU of the idle gateway", 100*w.load(roleGateway), "% of a core").atMost(3).
			note(fmt.Sprintf("%d pings were answered", f.counts().pings))
		b.figure("CPU of the idle worker", 100*w.load(roleWorker), "% of a core")
		b.figure("CPU of the idle Redis", 100*w.load(roleRedis), "% of a core")
		b.machineFigures(w)
	}
	b.Charts = append(b.Charts, chart{Title: "Memory of the gateway: burst, messages, rest", X: "s", Y: "MiB", Series: []curve{memory}})
	return f.verdict()
}
