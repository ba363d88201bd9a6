package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var slow = scenario{
	name:  "slow",
	title: "1,000 of 2,000 subscribers stop reading for 30 s, and come back to it",
	about: "They have a small receive buffer and read nothing while the topic gets far more than their queue at the gateway holds; " +
		"then they read again. They must get everything, in order, on the same connection, and the fast ones must not notice.",
	run: runSlow,
}

const (
	slowSubscribers = 2000
	slowOnes        = 1000
	slowSize        = 4096 // bytes of data
	slowRate        = 50   // events/s
	slowPause       = 30 * time.Second
	slowHistory     = "SLUICE_HISTORY_SIZE=5000"
	slowBuffer      = 8 << 10
	// slowQueue is what a gateway holds for a slow client by default: events and answers. slowPages it has once.
	slowQueue = (64 + 16) << 10
	slowPages = 16 << 20
)

func runSlow(ctx context.Context, b *bench) (found findings, err error) {
	r, err := b.rig(ctx, 2, max(b.cfg.size, slowSize), slowHistory)
	if err != nil {
		return found, err
	}
	defer r.close()
	fast, n := b.cfg.n(slowSubscribers-slowOnes), b.cfg.n(slowOnes)
	name := r.in.name("slow", 0)
	if err := r.connect(ctx, r.in.users("fast", fast, spec{topics: []string{name}})); err != nil {
		return found, err
	}
	laggards, err := newFleet(1)
	if err != nil {
		return found, err
	}
	defer laggards.close()
	clients, err := laggards.connect(ctx, r.in.users("laggard", n, spec{topics: []string{name}, buffer: slowBuffer}), 0)
	if err != nil {
		return found, err
	}
	topic, lasts := &target{name: "topic:" + name}, slowPause
	if b.cfg.scale < 1 {
		lasts = min(lasts, b.cfg.time)
	}

	calm, err := r.published(ctx, "all read", slowRate, lasts, everyone(topic, fast))
	if err != nil {
		return found, err
	}
	memory, err := r.in.memory(roleGateway)
	if err != nil {
		return found, err
	}
	for _, c := range clients {
		c.loop.pause(c)
	}
	had := laggards.counts().events
	w, err := r.published(ctx, fmt.Sprintf("%d do not read", n), slowRate, lasts, everyone(topic, fast))
	if err != nil {
		return found, err
	}
	after, err := r.in.memory(roleGateway)
	if err != nil {
		return found, err
	}
	grown := after - memory
	b.progress.enter("they read again")
	begin := time.Now()
	for _, c := range clients {
		if err := c.loop.resume(c); err != nil {
			return found, err
		}
	}
	missed := w.events / uint64(fast) * uint64(n) // w has those of the fast ones
	if err := laggards.until(ctx, "the slow clients have everything", func(c counts) bool { return c.events+c.gaps >= had+missed }); err != nil {
		return found, err
	}
	took := time.Since(begin)

	c := laggards.counts()
	found.add(
		measured("slow clients that were closed", float64(c.failed), "").atMost(0),
		measured("events that they missed", float64(c.holes), "").atMost(0).also("of", float64(missed), ""),
		measured("all slow clients have caught up after", milliseconds(took), "ms"),
	)
	p50, before := latency("fast clients, all read", calm.latency)
	found.add(p50, before)
	p50, p99 := latency("fast clients, while some do not read", w.latency)
	found.add(p50, p99.against("all read", before.Value).ratioAtMost(1.5))
	found.add(
		measured("gaps that they were told", float64(c.gaps), "").atMost(0),
		measured("gateways' memory grew by", mebibytes(grown), "MiB").
			atMost(mebibytes(float64(n*slowQueue+2*slowPages))).note("the bound is that of their queues and the pages"),
		measured("gateways' memory for a slow client", grown/1024/float64(n), "KiB").note("what all of them grew by in that time"),
		cost("gateways + worker + Redis, all read", calm.cost(roleGateway, roleWorker, roleRedis)),
		cost("gateways + worker + Redis, while some do not read", w.cost(roleGateway, roleWorker, roleRedis)),
	)
	found.add(machineLoad(w))
	found.plot(distributions("Latency of the fast clients", distribution("all read", calm.latency), distribution("some do not read", w.latency)))
	found.plot(w.overTime()...)
	return found, errors.Join(laggards.verdict(), r.fleet.verdict())
}
