package main

import (
	"context"
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

func runSlow(ctx context.Context, b *bench) error {
	in, f, done, err := b.install(ctx, 2, slowHistory)
	if err != nil {
		return err
	}
	defer done()
	fast := b.cfg.n(slowSubscribers - slowOnes)
	topic := in.name("slow", 0)
	if err := b.subscribers(ctx, in, f, fast, topic); err != nil {
		return err
	}
	laggards, err := newFleet(1)
	if err != nil {
		return err
	}
	defer laggards.close()
	specs := make([]spec, b.cfg.n(slowOnes))
	for i := range specs {
		specs[i] = in.user(i, in.name("laggard", i))
		specs[i].topics, specs[i].buffer = []string{topic}, slowBuffer
	}
	clients, err := laggards.connect(ctx, specs, 0)
	if err != nil {
		return err
	}
	p, err := in.producer(ctx, b.cfg.via, max(b.cfg.size, slowSize))
	if err != nil {
		return err
	}
	defer p.close()
	t := &target{name: "topic:" + topic}
	lasts := slowPause
	if b.cfg.scale < 1 {
		lasts = min(lasts, b.cfg.time)
	}
	events := int(slowRate * lasts.Seconds())
	next := func(int) (*target, uint64) { return t, uint64(fast) }
	window := func(phase string) (*window, error) {
		m := &meter{b: b, in: in, fleet: f, phase: phase}
		return m.measure(ctx, func() error { return b.publish(ctx, in, f, p, slowRate, lasts, next) })
	}

	calm, err := window("all read")
	if err != nil {
		return err
	}
	rss, err := in.memory(roleGateway)
	if err != nil {
		return err
	}
	for _, c := range clients {
		laggards.loops[0].pause(c)
	}
	had := laggards.counts().events
	w, err := window(fmt.Sprintf("%d do not read", len(clients)))
	if err != nil {
		return err
	}
	rss2, err := in.memory(roleGateway)
	if err != nil {
		return err
	}
	b.progress.enter("they read again")
	begin := time.Now()
	for _, c := range clients {
		if err := laggards.loops[0].resume(c); err != nil {
			return err
		}
	}
	want := had + w.events/uint64(fast)*uint64(len(clients)) // w has those of the fast ones
	if err := laggards.until(ctx, "the slow clients have everything", func(c counts) bool { return c.events+c.gaps >= want }); err != nil {
		return err
	}
	took := time.Since(begin)

	c := laggards.counts()
	b.figure("slow clients that were closed", float64(c.failed), "").atMost(0)
	b.figure("events that they missed", float64(c.holes), "").atMost(0).note(fmt.Sprintf("of %s", count(float64(events*len(clients)))))
	b.figure("all slow clients have caught up after", milliseconds(took), "ms")
	b.latencyFigures("fast clients, all read", &calm.latency)
	_, p99 := b.latencyFigures("fast clients, while some do not read", &w.latency)
	before := milliseconds(calm.latency.quantile(0.99))
	p99.beside("all read", before).ratioAtMost(1.5)
	b.figure("gaps that they were told", float64(c.gaps), "").atMost(0)
	if len(in.processes) > 0 {
		b.figure("gateways' memory grew by", float64(rss2-rss)/(1<<20), "MiB").
			atMost(float64(len(clients)*slowQueue+2*slowPages) / (1 << 20)).note("the bound is that of their queues and the pages")
		b.figure("gateways' memory for a slow client", float64(rss2-rss)/1024/float64(len(clients)), "KiB").
			note("what all of them grew by in that time")
		b.cost("gateways + worker + Redis, all read", calm.cost(roleGateway, roleWorker, roleRedis))
		b.cost("gateways + worker + Redis, while some do not read", w.cost(roleGateway, roleWorker, roleRedis))
	}
	b.machineFigures(w)
	b.chartDistribution("Latency of the fast clients", curveOf("all read", &calm.latency), curveOf("some do not read", &w.latency))
	b.chartWindow(w)
	if err := laggards.verdict(); err != nil {
		return err
	}
	return f.verdict()
}

// memory is the resident memory of all processes of a role, in bytes; 0 if they were not started here.
func (in *installation) memory(role string) (sum int64, err error) {
	for _, p := range in.role(role) {
		rss, err := rssOf(p.pid())
		if err != nil {
			return 0, err
		}
		sum += rss
	}
	return sum, nil
}
