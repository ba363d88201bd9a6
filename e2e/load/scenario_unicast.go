package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

var unicast = scenario{
	name:  "unicast",
	title: "5,000 users over two gateways: 5,000 and 40,000 events/s, each for one of them",
	about: "Each event is one XADD, sent when it is due. The floors are a bare write(2) for each event, and the plain Redis " +
		"commands without which nothing can be kept and told: XADD to an ingress, XADD to a history, PUBLISH to one " +
		"subscriber. Latency is from the XADD to the end of the read that brought the event to its client.",
	run: runUnicast,
}

const (
	unicastUsers = 5000
	unicastSlow  = 5000 // events/s
	unicastFast  = 40_000
	// bareWrite is the cost of a bare write of a frame, in CPU s/M, on the machine for which the goals of CPU seconds
	// were set; on another one they are in proportion.
	bareWrite = 3.4
)

func runUnicast(ctx context.Context, b *bench) error {
	slowRate, fastRate := float64(b.cfg.n(unicastSlow)), float64(b.cfg.n(unicastFast))
	fan := order{Rate: float64(fanoutRate) / fanoutSubscribers, Batch: 1, Size: b.cfg.size, Seconds: b.floorTime().Seconds()}
	one := order{Rate: slowRate, Batch: 1, Size: b.cfg.size, One: true, Seconds: b.floorTime().Seconds()}
	floors := func(when string) (frame, single, plain, plainFast float64, w *window, err error) {
		if frame, _, err = frameFloor(ctx, b, "floor of writes, "+when, b.cfg.n(fanoutSubscribers), fan); err != nil {
			return
		}
		if single, _, err = frameFloor(ctx, b, "floor of single writes, "+when, b.cfg.n(unicastUsers), one); err != nil {
			return
		}
		if plain, w, err = redisFloor(ctx, b, "plain Redis, "+when, slowRate); err != nil {
			return
		}
		plainFast, _, err = redisFloor(ctx, b, "plain Redis at "+count(fastRate)+"/s, "+when, fastRate)
		return
	}
	frame1, single1, plain1, fast1, _, err := floors("before")
	if err != nil {
		return err
	}
	few, many, intake, err := measureUnicast(ctx, b, slowRate, fastRate)
	if err != nil {
		return err
	}
	frame2, single2, plain2, fast2, plain, err := floors("after")
	if err != nil {
		return err
	}

	scale := (frame1 + frame2) / 2 / bareWrite
	b.figure("bare write of a frame", (frame1+frame2)/2, "CPU s/M").
		note(fmt.Sprintf("the goals are for a machine where it takes %.1f: here they are %.2f times as high", bareWrite, scale))
	for _, x := range []struct {
		w              *window
		most           float64
		plain1, plain2 float64
	}{{few, 70, plain1, plain2}, {many, 25, fast1, fast2}} {
		at := "at " + x.w.phase
		b.figure("delivered "+at, x.w.perSecond(), "/s")
		b.cost("gateways + worker + Redis "+at, x.w.cost(roleGateway, roleWorker, roleRedis)).
			against("write + plain Redis", single1+x.plain1, single2+x.plain2).atMost(x.most * scale)
		b.cost("gateways "+at, x.w.cost(roleGateway)).against("single write", single1, single2)
		b.cost("worker "+at, x.w.cost(roleWorker))
		b.cost("Redis "+at, x.w.cost(roleRedis)).against("plain commands", x.plain1, x.plain2)
		p50, p99 := b.latencyFigures("XADD to client "+at, &x.w.latency)
		if x.w == few {
			p50.beside("PUBLISH to subscriber", milliseconds(plain.latency.quantile(0.5))).atMost(0.6)
			p99.beside("PUBLISH to subscriber", milliseconds(plain.latency.quantile(0.99))).atMost(2.5)
		}
		b.machineFigures(x.w)
	}
	if intake != nil {
		b.cost("gateways + worker + Redis through the intake", intake.cost(roleGateway, roleWorker, roleRedis)).
			note("one hop more: the worker brings the events to their partitions")
		b.latencyFigures("XADD to the intake, to client", &intake.latency)
	}
	curves := []curve{curveOf(few.phase, &few.latency), curveOf(many.phase, &many.latency), curveOf("PUBLISH to subscriber", &plain.latency)}
	if intake != nil {
		curves = append(curves, curveOf(intake.phase, &intake.latency))
	}
	b.chartDistribution("Latency from XADD to the client", curves...)
	b.chartWindow(few)
	b.chartWindow(many)
	return nil
}

func measureUnicast(ctx context.Context, b *bench, slowRate, fastRate float64) (few, many, intake *window, err error) {
	in, f, done, err := b.install(ctx, 2)
	if err != nil {
		return nil, nil, nil, err
	}
	defer done()
	targets, err := b.users(ctx, in, f, "uni", b.cfg.n(unicastUsers))
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := in.producer(ctx, b.cfg.via, b.cfg.size)
	if err != nil {
		return nil, nil, nil, err
	}
	defer p.close()
	next := func(int) (*target, uint64) { return targets[rand.IntN(len(targets))], 1 }
	window := func(p *producer, phase string, rate float64) (*window, error) {
		m := &meter{b: b, in: in, fleet: f, phase: phase}
		return m.measure(ctx, func() error { return b.publish(ctx, in, f, p, rate, b.cfg.time, next) })
	}
	b.progress.enter("warming up")
	// Every user has had an event before, as in an installation that runs for a while.
	each := func(i int) (*target, uint64) { return targets[i%len(targets)], 1 }
	if err := b.publish(ctx, in, f, p, slowRate, time.Duration(float64(len(targets))/slowRate*float64(time.Second)), each); err != nil {
		return nil, nil, nil, err
	}
	if few, err = window(p, count(slowRate)+"/s", slowRate); err != nil {
		return nil, nil, nil, err
	}
	if many, err = window(p, count(fastRate)+"/s", fastRate); err != nil {
		return nil, nil, nil, err
	}
	if b.cfg.via == viaPartition {
		ip, err := in.producer(ctx, viaIntake, b.cfg.size)
		if err != nil {
			return nil, nil, nil, err
		}
		defer ip.close()
		if intake, err = window(ip, count(slowRate)+"/s through the intake", slowRate); err != nil {
			return nil, nil, nil, err
		}
	}
	return few, many, intake, f.verdict()
}
