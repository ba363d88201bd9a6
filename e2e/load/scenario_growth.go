package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
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
	targetKiB     = 8 // what a target with few events takes in Redis, at most: a stream's first node alone is 4 KiB
	targetPayload = 256
)

func runGrowth(ctx context.Context, b *bench) error {
	return errors.Join(
		b.growSubscribers(ctx), b.growGateways(ctx), b.growTargets(ctx), b.growEvents(ctx),
	)
}

// growSubscribers measures the same number of deliveries a second to more and more subscribers.
func (b *bench) growSubscribers(ctx context.Context) error {
	sizes := []int{b.cfg.n(100), b.cfg.n(1000), b.cfg.n(10_000)}
	costs, floors, events := curve{Name: "gateways"}, curve{Name: "bare write"}, curve{Name: "gateways + worker"}
	for _, n := range sizes {
		w, floor, err := b.delivery(ctx, n, 2)
		if err != nil {
			return err
		}
		costs.At = append(costs.At, [2]float64{float64(n), w.cost(roleGateway)})
		events.At = append(events.At, [2]float64{float64(n), w.cost(roleGateway, roleWorker)})
		floors.At = append(floors.At, [2]float64{float64(n), (floor[0] + floor[1]) / 2})
		b.figure(fmt.Sprintf("gateways, %s subscribers", count(float64(n))), w.cost(roleGateway), "CPU s/M").
			against("bare write", floor[0], floor[1]).
			note(fmt.Sprintf("with the worker %.2f, %.0f events/s", w.cost(roleGateway, roleWorker), growthRate*b.cfg.scale/float64(n)))
	}
	b.rise("gateways, 100 to 10,000 subscribers", costs, floors, 1.15)
	b.Charts = append(b.Charts, chart{Title: "Cost of a delivery", X: "subscribers", Y: "CPU s/M", LogX: true, Series: []curve{events, costs, floors}})
	return nil
}

// rise says how much dearer it becomes as the numbers grow, at worst. It may become cheaper: what an event costs is then
// shared by more. Where there are floors, which rise themselves since more sockets mean more cache misses, it is the ratio
// to the floor that counts.
func (b *bench) rise(what string, costs, floors curve, most float64) {
	if len(floors.At) == 0 {
		b.figure(what+", rise", costs.rise(), "times").atMost(most)
		return
	}
	b.figure(what+", rise", costs.rise(), "times").beside("that of bare writes", floors.rise())
	ratios := curve{}
	for i, p := range costs.At {
		if floor := floors.At[i][1]; floor > 0 {
			ratios.At = append(ratios.At, [2]float64{p[0], p[1] / floor})
		}
	}
	b.figure(what+", rise of the ratio to bare writes", ratios.rise(), "times").atMost(most)
}

// rise is the largest ratio of a value to one before it, at least 1; 0 if there is nothing to compare.
func (c curve) rise() (most float64) {
	least := 0.0
	for _, p := range c.At {
		if p[1] <= 0 {
			return 0 // too short to tell
		}
		if least == 0 || p[1] < least {
			least = p[1]
		}
		most = max(most, p[1]/least)
	}
	return most
}

// delivery measures a fan-out, with a floor before and after.
func (b *bench) delivery(ctx context.Context, n, gateways int) (w *window, floor [2]float64, err error) {
	rate := growthRate * b.cfg.scale / float64(n)
	what := fmt.Sprintf("%s subscribers on %d gateways", count(float64(n)), gateways)
	o := order{Rate: rate, Batch: 1, Size: b.cfg.size, Seconds: b.floorTime().Seconds()}
	if floor[0], _, err = frameFloor(ctx, b, "floor, before "+what, n, o); err != nil {
		return nil, floor, err
	}
	if w, err = b.deliver(ctx, n, gateways, rate, what); err != nil {
		return nil, floor, err
	}
	floor[1], _, err = frameFloor(ctx, b, "floor, after "+what, n, o)
	return w, floor, err
}

func (b *bench) deliver(ctx context.Context, n, gateways int, rate float64, what string) (*window, error) {
	in, f, done, err := b.install(ctx, gateways)
	if err != nil {
		return nil, err
	}
	defer done()
	topic := in.name("grow", 0)
	if err := b.subscribers(ctx, in, f, n, topic); err != nil {
		return nil, err
	}
	p, err := in.producer(ctx, b.cfg.via, b.cfg.size)
	if err != nil {
		return nil, err
	}
	defer p.close()
	t := &target{name: "topic:" + topic}
	next := func(int) (*target, uint64) { return t, uint64(n) }
	if err := b.publish(ctx, in, f, p, rate, b.cfg.time/8, next); err != nil {
		return nil, err
	}
	m := &meter{b: b, in: in, fleet: f, phase: what}
	w, err := m.measure(ctx, func() error { return b.publish(ctx, in, f, p, rate, b.cfg.time, next) })
	if err != nil {
		return nil, err
	}
	return w, f.verdict()
}

func (b *bench) growGateways(ctx context.Context) error {
	costs, floors := curve{Name: "gateways"}, curve{Name: "bare write"}
	n := b.cfg.n(growthSpread)
	for _, gateways := range []int{1, 2, 4, 8} {
		w, floor, err := b.delivery(ctx, n, gateways)
		if err != nil {
			return err
		}
		costs.At = append(costs.At, [2]float64{float64(gateways), w.cost(roleGateway)})
		floors.At = append(floors.At, [2]float64{float64(gateways), (floor[0] + floor[1]) / 2})
		b.figure(fmt.Sprintf("gateways, %s subscribers on %d of them", count(float64(n)), gateways), w.cost(roleGateway), "CPU s/M").
			against("bare write", floor[0], floor[1])
	}
	b.rise("gateways, 1 to 8 of them", costs, floors, 1.15)
	b.Charts = append(b.Charts, chart{Title: "Cost of a delivery to " + count(float64(n)), X: "gateways", Y: "CPU s/M", LogX: true, Series: []curve{costs, floors}})
	return nil
}

// growTargets measures events to random ones of more and more targets that nobody subscribes to.
func (b *bench) growTargets(ctx context.Context) error {
	in, f, done, err := b.install(ctx, 1)
	if err != nil {
		return err
	}
	defer done()
	f.close()
	p, err := in.producer(ctx, b.cfg.via, targetPayload)
	if err != nil {
		return err
	}
	defer p.close()
	both, worker, redis := curve{Name: "worker + Redis"}, curve{Name: "worker"}, curve{Name: "Redis"}
	var targets []*target
	for _, n := range []int{b.cfg.n(1000), b.cfg.n(10_000), b.cfg.n(100_000), b.cfg.n(1_000_000)} {
		if need := int64(n) * targetKiB << 10; need > memoryAvailable() {
			b.figure(count(float64(n))+" targets", 0, "").note(fmt.Sprintf("left out: Redis could need %d GiB", need>>30))
			break
		}
		b.progress.enter(fmt.Sprintf("filling Redis with %s targets", count(float64(n))))
		had := len(targets)
		for i := had; i < n; i++ {
			targets = append(targets, &target{name: fmt.Sprintf("user:load-%s-%d", b.cfg.id, i)})
		}
		if err := b.unheard(ctx, in, p, growthFill, n-had, func(i int) *target { return targets[had+i] }); err != nil {
			return err
		}
		rate := float64(b.cfg.n(growthEvents))
		sent := p.asked
		m := &meter{b: b, in: in, phase: fmt.Sprintf("%s targets", count(float64(n)))}
		w, err := m.measure(ctx, func() error {
			return b.unheard(ctx, in, p, rate, int(rate*b.cfg.time.Seconds()), func(int) *target { return targets[rand.IntN(n)] })
		})
		if err != nil {
			return err
		}
		events := uint64(p.asked - sent)
		for _, x := range []struct {
			c     *curve
			roles []string
		}{{&both, []string{roleWorker, roleRedis}}, {&worker, []string{roleWorker}}, {&redis, []string{roleRedis}}} {
			x.c.At = append(x.c.At, [2]float64{float64(n), w.costPer(events, x.roles...)})
		}
		memory, err := in.memory(roleRedis)
		if err != nil {
			return err
		}
		b.figure(fmt.Sprintf("worker + Redis, %s targets", count(float64(n))), w.costPer(events, roleWorker, roleRedis), "CPU s/M").
			note(fmt.Sprintf("worker %.1f, Redis %.1f; Redis has %d MiB", w.costPer(events, roleWorker), w.costPer(events, roleRedis), memory>>20))
	}
	b.rise("worker + Redis, a thousand to a million targets", both, curve{}, 1.4)
	b.Charts = append(b.Charts, chart{Title: "Cost of an event that nobody hears", X: "targets", Y: "CPU s/M", LogX: true, Series: []curve{both, worker, redis}})
	return nil
}

// growEvents looks at the memory of gateways and workers while events go through.
func (b *bench) growEvents(ctx context.Context) error {
	in, f, done, err := b.install(ctx, 2)
	if err != nil {
		return err
	}
	defer done()
	targets, err := b.users(ctx, in, f, "through", b.cfg.n(growthUsers))
	if err != nil {
		return err
	}
	p, err := in.producer(ctx, b.cfg.via, b.cfg.size)
	if err != nil {
		return err
	}
	defer p.close()
	rate := float64(b.cfg.n(resumeRate))
	chunk := b.cfg.n(growthChunk)
	gateways, workers := curve{Name: "gateways"}, curve{Name: "worker"}
	var first, last float64
	for i := range growthChunks {
		b.progress.enter(fmt.Sprintf("memory: %s events through", count(float64(chunk*(i+1)))))
		d := time.Duration(float64(chunk) / rate * float64(time.Second))
		if err := b.publish(ctx, in, f, p, rate, d, func(i int) (*target, uint64) { return targets[i%len(targets)], 1 }); err != nil {
			return err
		}
		g, err1 := in.memory(roleGateway)
		w, err2 := in.memory(roleWorker)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		through := float64(chunk * (i + 1))
		gateways.At = append(gateways.At, [2]float64{through, float64(g) / (1 << 20)})
		workers.At = append(workers.At, [2]float64{through, float64(w) / (1 << 20)})
		if i == 1 {
			first = float64(g + w)
		}
		last = float64(g + w)
	}
	// The first chunks fill buffers and the history of every user: growth counts after them.
	b.figure("memory of gateways and worker, last to second chunk of events", last/first, "times").atMost(1.15).
		note(fmt.Sprintf("%.1f MiB in all after %s events", last/(1<<20), count(float64(growthChunks*chunk))))
	b.Charts = append(b.Charts, chart{Title: "Memory while events go through", X: "events", Y: "MiB", Series: []curve{gateways, workers}})
	return f.verdict()
}
