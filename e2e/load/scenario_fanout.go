package main

import (
	"context"
	"fmt"
	"time"
)

var fanout = scenario{
	name:  "fanout",
	title: "1,000 subscribers of one topic over two gateways: at 100,000 deliveries/s, and as fast as it goes",
	about: "Each event goes to every subscriber. The floor writes the same frames to the same number of sockets, one write(2) " +
		"for each; it is measured before and after. As fast as it goes, the producer adds an event as soon as all but a " +
		"few have been received by all.",
	run: runFanout,
}

const (
	fanoutSubscribers = 1000
	fanoutRate        = 100_000 // deliveries/s
	// fanoutWindow is how many events are under way when it goes as fast as it can: below what a gateway holds for a
	// socket by default (64 KiB), so that no subscriber falls behind.
	fanoutWindow = 100
)

func runFanout(ctx context.Context, b *bench) error {
	n := b.cfg.n(fanoutSubscribers)
	rate := float64(fanoutRate) / fanoutSubscribers // events/s
	order := order{Rate: rate, Batch: 1, Size: b.cfg.size, Seconds: b.floorTime().Seconds()}
	before, _, err := frameFloor(ctx, b, "floor, before", n, order)
	if err != nil {
		return err
	}
	steady, fastest, err := measureFanout(ctx, b, n, rate)
	if err != nil {
		return err
	}
	after, bare, err := frameFloor(ctx, b, "floor, after", n, order)
	if err != nil {
		return err
	}
	order.Rate, order.Batch = 0, 1
	single, err := writeFloor(ctx, b, "floor, as fast as it goes", n, order)
	if err != nil {
		return err
	}
	order.Batch = 8
	batched, err := writeFloor(ctx, b, "floor, 8 frames a write", n, order)
	if err != nil {
		return err
	}

	b.figure("deliveries", steady.perSecond(), "/s")
	b.cost("gateways + worker", steady.cost(roleGateway, roleWorker)).against("bare write", before, after).ratioAtMost(1.4)
	b.cost("gateways alone", steady.cost(roleGateway)).against("bare write", before, after)
	b.cost("worker alone", steady.cost(roleWorker))
	b.cost("Redis", steady.cost(roleRedis)).note("not in the sum above: the XADD of the producer is in it")
	p50, p99 := b.latencyFigures("XADD to client", &steady.latency)
	p50.beside("write to client", milliseconds(bare.latency.quantile(0.5)))
	p99.beside("write to client", milliseconds(bare.latency.quantile(0.99)))
	b.machineFigures(steady)
	b.figure("as fast as it goes", fastest.perSecond(), "deliveries/s").atLeast(900_000).
		beside("bare write", single.perSecond()).
		note(fmt.Sprintf("8 frames a write: %s/s; the generator used %.0f %% of a core", count(batched.perSecond()), 100*fastest.load(roleGenerator)))
	b.cost("gateways + worker, as fast as it goes", fastest.cost(roleGateway, roleWorker)).beside("bare write, as fast", single.cost(roleFloor))
	b.chartDistribution("Latency of a fan-out to "+count(float64(n)),
		curveOf("XADD to client", &steady.latency), curveOf("as fast as it goes", &fastest.latency), curveOf("bare write", &bare.latency))
	b.chartWindow(steady)
	b.chartWindow(fastest)
	return nil
}

func measureFanout(ctx context.Context, b *bench, n int, rate float64) (steady, fastest *window, err error) {
	in, f, done, err := b.install(ctx, 2)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	topic := in.name("fan", 0)
	if err := b.subscribers(ctx, in, f, n, topic); err != nil {
		return nil, nil, err
	}
	p, err := in.producer(ctx, b.cfg.via, b.cfg.size)
	if err != nil {
		return nil, nil, err
	}
	defer p.close()
	t := &target{name: "topic:" + topic}

	b.progress.enter("warming up")
	if err := b.publish(ctx, in, f, p, rate, b.cfg.time/8, func(int) (*target, uint64) { return t, uint64(n) }); err != nil {
		return nil, nil, err
	}
	m := &meter{b: b, in: in, fleet: f, phase: fmt.Sprintf("%s deliveries/s", count(rate*float64(n)))}
	steady, err = m.measure(ctx, func() error {
		return b.publish(ctx, in, f, p, rate, b.cfg.time, func(int) (*target, uint64) { return t, uint64(n) })
	})
	if err != nil {
		return nil, nil, err
	}
	m = &meter{b: b, in: in, fleet: f, phase: "as fast as it goes"}
	fastest, err = m.measure(ctx, func() error { return b.flood(ctx, in, f, p, t, n) })
	if err != nil {
		return nil, nil, err
	}
	return steady, fastest, f.verdict()
}

// flood adds events to one target as long as few are under way, for the time of a measurement.
func (b *bench) flood(ctx context.Context, in *installation, f *fleet, p *producer, t *target, subscribers int) error {
	base := f.counts().events
	sent := uint64(0)
	moved, last := time.Now(), base
	for end := time.Now().Add(b.cfg.time); time.Now().Before(end); {
		now := f.events()
		whole := (now - base) / uint64(subscribers) // events that all have, about
		room := fanoutWindow - int(sent-whole)
		if room < fanoutWindow/4 {
			if now != last {
				moved, last = time.Now(), now
			}
			if time.Since(moved) > patience {
				break // received says what is missing
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			nap(100 * time.Microsecond)
			continue
		}
		for range room {
			p.add(t)
		}
		sent += uint64(room)
		if err := p.flush(); err != nil {
			return err
		}
	}
	return b.received(ctx, in, f, base+sent*uint64(subscribers))
}
