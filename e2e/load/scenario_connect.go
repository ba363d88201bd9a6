package main

import (
	"context"
	"errors"
	"time"
)

var connects = scenario{
	name:  "connect",
	title: "connects at 1,000/s, then 10,000 at once while others receive",
	about: "A connect ends with the last `subscribed`: for the user, all, and a topic of its own. The floor is a loop that " +
		"accepts, reads the request and writes a fixed answer. During the storm 500 clients go on receiving; their latency " +
		"is compared with that of before.",
	run: runConnects,
}

const (
	connectRate = 1000 // connects/s
	stormSize   = 10_000
	established = 500
	stormEvents = 2000 // events/s to the established clients
)

func runConnects(ctx context.Context, b *bench) (found findings, err error) {
	r, err := b.rig(ctx, 2, b.cfg.size)
	if err != nil {
		return found, err
	}
	defer r.close()

	n := min(b.cfg.n(connectRate)*int(max(1, b.cfg.time.Seconds())), b.cfg.n(stormSize))
	at := "connect at " + count(b.cfg.n(connectRate)) + "/s"
	steady, err := r.arrive(ctx, at, withOwnTopics(r.in.users("rate", n, spec{})), float64(b.cfg.n(connectRate)))
	if err != nil {
		return found, err
	}
	found.add(latency(at, steady.opening))
	found.add(
		cost("gateways, for a connect", steady.costPer(n, roleGateway)),
		cost("Redis, for a connect", steady.costPer(n, roleRedis)),
	)

	old := r.in.users("old", b.cfg.n(established), spec{})
	if err := r.connect(ctx, old); err != nil {
		return found, err
	}
	to, rate := inTurn(users(old)), float64(b.cfg.n(stormEvents))
	calm, err := r.published(ctx, "before the storm", rate, b.cfg.time, to)
	if err != nil {
		return found, err
	}
	newcomers := withOwnTopics(r.in.users("storm", b.cfg.n(stormSize), spec{}))
	n = len(newcomers)
	// First the same number of connects to the floor: they take CPU from everybody, too.
	var bareTook time.Duration
	bare, err := r.measure(ctx, "storm of the floor", func() error {
		return r.whilePublishing(ctx, rate, to, func() (err error) {
			bareTook, err = b.floorStorm(ctx, n, "/hold", 0)
			return err
		})
	})
	if err != nil {
		return found, err
	}
	reads, commands := r.in.stat(ctx, "total_reads_processed"), r.in.stat(ctx, "total_commands_processed")
	var storm *arrival
	err = r.whilePublishing(ctx, rate, to, func() (err error) {
		storm, err = r.arrive(ctx, "storm of "+count(n), newcomers, 0)
		return err
	})
	if err != nil {
		return found, err
	}
	reads, commands = r.in.stat(ctx, "total_reads_processed")-reads, r.in.stat(ctx, "total_commands_processed")-commands

	found.add(
		measured("storm: all open after", storm.all.Seconds(), "s").against("bare accept and answer", bareTook.Seconds()),
		measured("storm: connects", float64(n)/storm.all.Seconds(), "/s"),
	)
	found.add(latency("storm: connect", storm.opening))
	found.add(
		measured("storm: failed connects", 0, "").atMost(0), // else it has ended with an error
		cost("storm: gateways, for a connect", storm.costPer(n, roleGateway)),
		cost("storm: Redis, for a connect", storm.costPer(n, roleRedis)),
	)
	if reads > 0 {
		found.add(measured("storm: commands in a read of Redis", commands/reads, "").
			note("more than a few says that the session writes are pipelined"))
	}
	before, p99 := latency("established clients, before", calm.latency)
	found.add(before, p99)
	p50, during := latency("established clients, during the storm", storm.latency)
	found.add(p50, during.against("before", p99.Value).ratioAtMost(2))
	p50, during = latency("established clients, during a storm at the floor", bare.latency)
	found.add(p50, during.against("before", p99.Value))
	found.add(machineLoad(storm.window))
	found.plot(
		distributions("Latency of established clients", distribution("before", calm.latency),
			distribution("storm at the floor", bare.latency), distribution("during the storm", storm.latency)),
		distributions("Duration of a connect in the storm", distribution("connect", storm.opening)),
	)
	found.plot(storm.overTime()...)
	return found, r.fleet.verdict()
}

// arrival is a window in which clients connect.
type arrival struct {
	*window
	opening hist          // how long a connect takes
	all     time.Duration // how long all of them take
}

// arrive connects clients that leave again, while the others are measured.
func (r *rig) arrive(ctx context.Context, phase string, specs []spec, rate float64) (*arrival, error) {
	f, err := newFleet(r.cfg.loops)
	if err != nil {
		return nil, err
	}
	defer f.close()
	a := &arrival{}
	a.window, err = r.measure(ctx, phase, func() error {
		begin := time.Now()
		_, err := f.connect(ctx, specs, rate)
		a.all = time.Since(begin)
		return err
	})
	a.opening = f.take(newHist(), func(l *latencies) hist { return l.opening })
	return a, err
}

// whilePublishing does something while events go on.
func (r *rig) whilePublishing(ctx context.Context, rate float64, to audience, do func() error) error {
	over, stop := context.WithCancel(ctx)
	sending := make(chan error, 1)
	go func() {
		err := r.publish(over, rate, patience, to)
		if over.Err() != nil && ctx.Err() == nil {
			err = nil // as it was meant
		}
		sending <- err
	}()
	err := do()
	stop()
	return errors.Join(err, <-sending)
}
