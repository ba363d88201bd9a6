package main

import (
	"context"
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

func runFanout(ctx context.Context, b *bench) (found findings, err error) {
	n := b.cfg.n(fanoutSubscribers)
	rate := float64(fanoutRate) / fanoutSubscribers // events/s
	var fastest *window
	steady, floors, err := b.fanOut(ctx, n, 2, rate, count(rate*float64(n))+" deliveries/s", func(r *rig, topic *target) (err error) {
		fastest, err = r.measure(ctx, "as fast as it goes", func() error { return r.flood(ctx, topic, n) })
		return err
	})
	if err != nil {
		return found, err
	}
	flat := b.writes(0)
	single, err := b.writeFloor(ctx, "floor, as fast as it goes", n, flat)
	if err != nil {
		return found, err
	}
	flat.Batch = 8
	batched, err := b.writeFloor(ctx, "floor, 8 frames a write", n, flat)
	if err != nil {
		return found, err
	}

	found.add(
		measured("deliveries", steady.perSecond(), "/s"),
		cost("gateways + worker", steady.cost(roleGateway, roleWorker)).against("bare write", each(floors, bareWrite)...).ratioAtMost(1.4),
		cost("gateways alone", steady.cost(roleGateway)).against("bare write", each(floors, bareWrite)...),
		cost("worker alone", steady.cost(roleWorker)),
		cost("Redis", steady.cost(roleRedis)).note("not in the sum above: the XADD of the producer is in it"),
	)
	p50, p99 := latency("XADD to client", steady.latency)
	bare50, bare99 := latency("", floors[1].latency)
	found.add(p50.against("write to client", bare50.Value), p99.against("write to client", bare99.Value))
	found.add(machineLoad(steady))
	found.add(
		measured("as fast as it goes", fastest.perSecond(), "deliveries/s").atLeast(900_000).against("bare write", single.perSecond()).
			also("8 frames a write", batched.perSecond(), "/s").also("generator", 100*fastest.load(roleGenerator), "% of a core"),
		cost("gateways + worker, as fast as it goes", fastest.cost(roleGateway, roleWorker)).against("bare write, as fast", bareWrite(single)),
	)
	found.plot(distributions("Latency of a fan-out to "+count(n), distribution("XADD to client", steady.latency),
		distribution("as fast as it goes", fastest.latency), distribution("bare write", floors[1].latency)))
	found.plot(steady.overTime()...)
	found.plot(fastest.overTime()...)
	return found, nil
}

// flood adds events to one target as long as few are under way, for the time of a measurement.
func (r *rig) flood(ctx context.Context, t *target, subscribers int) error {
	base := r.fleet.counts().events
	sent := uint64(0)
	for end := time.Now().Add(r.cfg.time); time.Now().Before(end); {
		room := 0
		err := await(ctx, "subscribers have received events", 100*time.Microsecond, func() (bool, uint64, error) {
			now := r.fleet.events()
			whole := (now - base) / uint64(subscribers) // events that all have, about
			room = fanoutWindow - int(sent-whole)
			return room >= fanoutWindow/4, now, nil
		})
		if err != nil {
			return err
		}
		for range room {
			r.producer.add(t)
		}
		sent += uint64(room)
		if err := r.producer.flush(); err != nil {
			return err
		}
	}
	return r.received(ctx, base+sent*uint64(subscribers))
}
