package main

import "context"

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
	// frameWrite is the cost of a bare write of a frame, in CPU s/M, on the machine for which the goals of CPU seconds
	// were set; on another one they are in proportion.
	frameWrite = 3.4
)

// unicastFloors are frames to many sockets, single ones, and plain Redis commands at both rates.
type unicastFloors struct{ frame, single, slow, fast *window }

func runUnicast(ctx context.Context, b *bench) (found findings, err error) {
	slowRate, fastRate := float64(b.cfg.n(unicastSlow)), float64(b.cfg.n(unicastFast))
	var few, many *window
	floors, err := between(func(when string) (unicastFloors, error) { return b.unicastFloors(ctx, when, slowRate, fastRate) }, func() (err error) {
		few, many, err = b.measureUnicast(ctx, slowRate, fastRate)
		return err
	})
	if err != nil {
		return found, err
	}
	single := each(floors, func(f unicastFloors) float64 { return bareWrite(f.single) })
	frames := each(floors, func(f unicastFloors) float64 { return bareWrite(f.frame) })
	frame := (frames[0] + frames[1]) / 2
	found.add(measured("bare write of a frame", frame, "CPU s/M").against("that for which the goals were set", frameWrite).
		note("the goals are here as many times as high"))
	plain := floors[1].slow
	for _, x := range []struct {
		w     *window
		most  float64
		floor func(unicastFloors) *window
	}{
		{few, 70, func(f unicastFloors) *window { return f.slow }},
		{many, 25, func(f unicastFloors) *window { return f.fast }},
	} {
		at := "at " + x.w.phase
		redis := each(floors, func(f unicastFloors) float64 { return x.floor(f).cost(roleRedis) })
		found.add(
			measured("delivered "+at, x.w.perSecond(), "/s"),
			cost("gateways + worker + Redis "+at, x.w.cost(roleGateway, roleWorker, roleRedis)).
				against("write + plain Redis", single[0]+redis[0], single[1]+redis[1]).atMost(x.most*frame/frameWrite),
			cost("gateways "+at, x.w.cost(roleGateway)).against("single write", single...),
			cost("worker "+at, x.w.cost(roleWorker)),
			cost("Redis "+at, x.w.cost(roleRedis)).against("plain commands", redis...),
		)
		p50, p99 := latency("XADD to client "+at, x.w.latency)
		if x.w == few {
			plain50, plain99 := latency("", plain.latency)
			p50 = p50.against("PUBLISH to subscriber", plain50.Value).atMost(0.6)
			p99 = p99.against("PUBLISH to subscriber", plain99.Value).atMost(2.5)
		}
		found.add(p50, p99)
		found.add(machineLoad(x.w))
	}
	curves := []curve{distribution(few.phase, few.latency), distribution(many.phase, many.latency), distribution("PUBLISH to subscriber", plain.latency)}
	found.plot(distributions("Latency from XADD to the client", curves...))
	found.plot(few.overTime()...)
	found.plot(many.overTime()...)
	return found, nil
}

func (b *bench) unicastFloors(ctx context.Context, when string, slowRate, fastRate float64) (f unicastFloors, err error) {
	if f.frame, err = b.writeFloor(ctx, "floor of writes, "+when, b.cfg.n(fanoutSubscribers), b.writes(float64(fanoutRate)/fanoutSubscribers)); err != nil {
		return f, err
	}
	one := b.writes(slowRate)
	one.One = true
	if f.single, err = b.writeFloor(ctx, "floor of single writes, "+when, b.cfg.n(unicastUsers), one); err != nil {
		return f, err
	}
	if f.slow, err = b.redisFloor(ctx, "plain Redis, "+when, slowRate); err != nil {
		return f, err
	}
	f.fast, err = b.redisFloor(ctx, "plain Redis at "+count(fastRate)+"/s, "+when, fastRate)
	return f, err
}

func (b *bench) measureUnicast(ctx context.Context, slowRate, fastRate float64) (few, many *window, err error) {
	r, err := b.rig(ctx, 2, b.cfg.size)
	if err != nil {
		return nil, nil, err
	}
	defer r.close()
	specs := r.in.users("uni", b.cfg.n(unicastUsers), spec{})
	if err := r.connect(ctx, specs); err != nil {
		return nil, nil, err
	}
	targets := users(specs)
	r.progress.enter("warming up")
	// Every user has had an event before, as in an installation that runs for a while.
	if err := r.publish(ctx, slowRate, lasting(len(targets), slowRate), inTurn(targets)); err != nil {
		return nil, nil, err
	}
	if few, err = r.published(ctx, count(slowRate)+"/s", slowRate, b.cfg.time, atRandom(targets)); err != nil {
		return nil, nil, err
	}
	if many, err = r.published(ctx, count(fastRate)+"/s", fastRate, b.cfg.time, atRandom(targets)); err != nil {
		return nil, nil, err
	}
	return few, many, r.fleet.verdict()
}
