package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

var growth = scenario{
	name:  "growth",
	title: "what a delivery and an event cost as numbers grow",
	about: "The cost of a delivery at 50,000/s for 100 to 10,000 subscribers over two gateways, and for 2,000 subscribers over " +
		"1 to 8 gateways, each with a floor of bare writes to as many sockets; the cost of an event while Redis holds a " +
		"thousand to a million targets; and memory while events go through.",
	own: true,
	run: runGrowth,
}

const (
	growthRate    = 50_000 // deliveries/s
	growthEvents  = 10_000 // events/s to many targets
	growthFill    = 40_000 // events/s while Redis is filled
	growthSpread  = 2000   // subscribers over 1 to 8 gateways
	growthChunks  = 5
	growthChunk   = 100_000 // events
	growthUsers   = 1000
	targetBytes   = 8 << 10 // what a target with few events takes in Redis, at most: a stream's first node alone is 4 KiB
	targetPayload = 256
)

func runGrowth(ctx context.Context, b *bench) (found findings, err error) {
	n := b.cfg.n
	err = errors.Join(
		b.growDeliveries(ctx, &found, "subscribers", [][2]int{{n(100), 2}, {n(1000), 2}, {n(10_000), 2}}, 0),
		b.growDeliveries(ctx, &found, "gateways", [][2]int{{n(growthSpread), 1}, {n(growthSpread), 2}, {n(growthSpread), 4}, {n(growthSpread), 8}}, 1),
		b.growTargets(ctx, &found),
		b.growEvents(ctx, &found),
	)
	return found, err
}

// growDeliveries measures the same number of deliveries a second as one of two numbers grows: steps has subscribers and
// gateways, and x is which of them grows.
func (b *bench) growDeliveries(ctx context.Context, found *findings, what string, steps [][2]int, x int) error {
	costs, floor, all, ratios := curve{Name: "gateways"}, curve{Name: "bare write"}, curve{Name: "gateways + worker"}, curve{}
	for _, step := range steps {
		n, gateways := step[0], step[1]
		rate := growthRate * b.cfg.scale / float64(n)
		phase := fmt.Sprintf("%s subscribers on %d gateways", count(n), gateways)
		w, floors, err := b.fanOut(ctx, n, gateways, rate, phase, nil)
		if err != nil {
			return err
		}
		both := w.cost(roleGateway, roleWorker)
		one := cost("gateways, "+phase, w.cost(roleGateway)).against("bare write", each(floors, bareWrite)...).
			also("with the worker", both, "").also("", rate, "events/s")
		found.add(one)
		at := float64(step[x])
		costs.add(at, one.Value)
		all.add(at, both)
		floor.add(at, one.Floor.Mean)
		if one.Floor.Mean > 0 {
			ratios.add(at, one.Floor.Ratio)
		}
	}
	span := fmt.Sprintf("%s to %s %s", count(steps[0][x]), count(steps[len(steps)-1][x]), what)
	// Floors rise themselves, since more sockets mean more cache misses: it is the ratio to them that counts.
	found.add(
		rise("gateways, "+span, costs).against("that of bare writes", floor.rise()),
		rise("ratio to bare writes, "+span, ratios).atMost(1.15),
	)
	found.plot(plot{Title: "Cost of a delivery, " + span, X: what, Y: "CPU s/M", Curves: []curve{all, costs, floor}})
	return nil
}

// rise says how much dearer it becomes as numbers grow, at worst. It may become cheaper: what an event costs is then
// shared by more.
func rise(what string, c curve) measurement { return measured(what+", rise", c.rise(), "times") }

// growTargets measures events to random ones of more and more targets that nobody subscribes to.
func (b *bench) growTargets(ctx context.Context, found *findings) error {
	r, err := b.rig(ctx, 1, targetPayload)
	if err != nil {
		return err
	}
	defer r.close()
	both, worker, redis := curve{Name: "worker + Redis"}, curve{Name: "worker"}, curve{Name: "Redis"}
	var targets []*target
	for _, n := range []int{b.cfg.n(1000), b.cfg.n(10_000), b.cfg.n(100_000), b.cfg.n(1_000_000)} {
		if need := float64(n) * targetBytes; need > memoryAvailable() {
			found.add(measured(count(n)+" targets", 0, "").also("left out: Redis could need", mebibytes(need), "MiB"))
			break
		}
		phase := count(n) + " targets"
		b.progress.enter("filling Redis with " + phase)
		had := len(targets)
		for i := had; i < n; i++ {
			targets = append(targets, &target{name: fmt.Sprintf("user:load-%s-%d", b.cfg.id, i)})
		}
		if err := r.unheard(ctx, growthFill, n-had, func(i int) *target { return targets[had+i] }); err != nil {
			return err
		}
		rate := float64(b.cfg.n(growthEvents))
		events := int(rate * b.cfg.time.Seconds())
		w, err := r.measure(ctx, phase, func() error {
			return r.unheard(ctx, rate, events, func(int) *target { return targets[rand.IntN(n)] })
		})
		if err != nil {
			return err
		}
		memory, err := r.in.memory(roleRedis)
		if err != nil {
			return err
		}
		both.add(float64(n), w.costPer(events, roleWorker, roleRedis))
		worker.add(float64(n), w.costPer(events, roleWorker))
		redis.add(float64(n), w.costPer(events, roleRedis))
		found.add(cost("worker + Redis, "+phase, w.costPer(events, roleWorker, roleRedis)).also("worker", w.costPer(events, roleWorker), "").
			also("Redis", w.costPer(events, roleRedis), "").also("memory of Redis", mebibytes(memory), "MiB"))
	}
	found.add(rise("worker + Redis, a thousand to a million targets", both).atMost(1.4))
	found.plot(plot{Title: "Cost of an event that nobody hears", X: "targets", Y: "CPU s/M", Curves: []curve{both, worker, redis}})
	return nil
}

// growEvents looks at the memory of gateways and workers while events go through.
func (b *bench) growEvents(ctx context.Context, found *findings) error {
	r, err := b.rig(ctx, 2, b.cfg.size)
	if err != nil {
		return err
	}
	defer r.close()
	specs := r.in.users("through", b.cfg.n(growthUsers), spec{})
	if err := r.connect(ctx, specs); err != nil {
		return err
	}
	to, rate, chunk := inTurn(users(specs)), float64(b.cfg.n(resumeRate)), b.cfg.n(growthChunk)
	gateways, workers := curve{Name: "gateways"}, curve{Name: "worker"}
	var sums []float64
	for i := range growthChunks {
		through := chunk * (i + 1)
		b.progress.enter("memory: " + count(through) + " events through")
		if err := r.publish(ctx, rate, lasting(chunk, rate), to); err != nil {
			return err
		}
		g, err1 := r.in.memory(roleGateway)
		w, err2 := r.in.memory(roleWorker)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		gateways.add(float64(through), mebibytes(g))
		workers.add(float64(through), mebibytes(w))
		sums = append(sums, g+w)
	}
	// The first chunks fill buffers and the history of every user: growth counts after them.
	last := sums[growthChunks-1]
	found.add(measured("memory of gateways and worker, last to second chunk of events", last/sums[1], "times").atMost(1.15).
		also("in all", mebibytes(last), "MiB").also("after", float64(growthChunks*chunk), "events"))
	found.plot(plot{Title: "Memory while events go through", X: "events", Y: "MiB", Curves: []curve{gateways, workers}})
	return r.fleet.verdict()
}
