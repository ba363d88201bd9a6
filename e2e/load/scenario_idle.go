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

func runIdle(ctx context.Context, b *bench) (found findings, err error) {
	r, err := b.rig(ctx, 1, b.cfg.size)
	if err != nil {
		return found, err
	}
	defer r.close()
	specs := withOwnTopics(r.in.users("idle", b.cfg.n(idleConnections), spec{}))

	memory := curve{Name: "RSS"}
	begin := time.Now()
	// look is the gateway's memory after something was done.
	look := func(do func() error) (float64, error) {
		if err := do(); err != nil {
			return 0, err
		}
		rss, err := r.in.memory(roleGateway)
		memory.add(time.Since(begin).Seconds(), mebibytes(rss))
		return rss, err
	}
	empty, err := look(func() error { return nil })
	if err != nil {
		return found, err
	}
	burst, err := look(func() error { return r.connect(ctx, specs) })
	if err != nil {
		return found, err
	}
	messages, err := look(func() error {
		r.progress.enter(fmt.Sprintf("%d messages to each", idleMessages))
		return r.publish(ctx, idleRate, lasting(len(specs)*idleMessages, idleRate), inTurn(users(specs)))
	})
	if err != nil {
		return found, err
	}
	rest := messages
	w, err := r.measure(ctx, "idle", func() error {
		for end := time.Now().Add(b.cfg.settle); time.Now().Before(end); {
			rest, err = look(func() error { nap(min(time.Second, time.Until(end))); return ctx.Err() })
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return found, err
	}
	b.heap(ctx, r.in.role(roleGateway)[0])

	perConnection := func(when string, rss float64) measurement {
		return measured(when, (rss-empty)/float64(len(specs))/1024, "KiB a connection")
	}
	found.add(
		measured("connections", float64(r.fleet.counts().open), ""),
		measured("empty gateway", mebibytes(empty), "MiB"),
		perConnection("after the burst", burst),
		perConnection(fmt.Sprintf("after %d messages each", idleMessages), messages),
		perConnection(fmt.Sprintf("after %v of rest", b.cfg.settle), rest).atMost(5).also("the whole process", mebibytes(rest), "MiB"),
	)
	if b.cfg.settle > 0 {
		found.add(
			measured("CPU of the idle gateway", 100*w.load(roleGateway), "% of a core").atMost(3).
				also("pings that were answered", float64(r.fleet.counts().pings), ""),
			measured("CPU of the idle worker", 100*w.load(roleWorker), "% of a core"),
			measured("CPU of the idle Redis", 100*w.load(roleRedis), "% of a core"),
		)
		found.add(machineLoad(w))
	}
	found.plot(plot{Title: "Memory of the gateway: burst, messages, rest", X: "s", Y: "MiB", Curves: []curve{memory}})
	return found, r.fleet.verdict()
}
