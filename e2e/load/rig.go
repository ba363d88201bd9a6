package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// rig is an installation under test, with clients and a producer of their events.
type rig struct {
	*bench
	in       *installation
	fleet    *fleet
	producer *producer
}

// rig starts or finds an installation. Events get size bytes of data.
func (b *bench) rig(ctx context.Context, gateways, size int, env ...string) (_ *rig, err error) {
	b.progress.enter("starting")
	r := &rig{bench: b}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.in, err = install(ctx, b.cfg, gateways, env...); err != nil {
		return nil, err
	}
	if r.fleet, err = newFleet(b.cfg.loops); err != nil {
		return nil, err
	}
	if r.producer, err = r.in.producer(ctx, b.cfg.via, size); err != nil {
		return nil, err
	}
	b.redisVersion = r.in.info(ctx, "Server", "redis_version")
	return r, nil
}

func (r *rig) close() {
	if r.producer != nil {
		r.producer.close()
	}
	if r.fleet != nil {
		r.fleet.close()
	}
	if r.in != nil {
		r.in.close()
	}
}

// connect connects clients and waits until they are open.
func (r *rig) connect(ctx context.Context, specs []spec) error {
	r.progress.enter("connecting " + count(len(specs)) + " clients")
	_, err := r.fleet.connect(ctx, specs, 0)
	return err
}

// measure measures the clients and the installation while work runs.
func (r *rig) measure(ctx context.Context, phase string, work func() error) (*window, error) {
	return (&meter{bench: r.bench, in: r.in, fleet: r.fleet, phase: phase}).measure(ctx, work)
}

// audience is who gets the i-th event, and how many clients that are.
type audience func(i int) (*target, uint64)

// everyone is the n subscribers of one target.
func everyone(t *target, n int) audience { return func(int) (*target, uint64) { return t, uint64(n) } }

func inTurn(targets []*target) audience {
	return func(i int) (*target, uint64) { return targets[i%len(targets)], 1 }
}

func atRandom(targets []*target) audience {
	return func(int) (*target, uint64) { return targets[rand.IntN(len(targets))], 1 }
}

// users are the targets user:<user> of clients.
func users(specs []spec) []*target {
	targets := make([]*target, len(specs))
	for i, s := range specs {
		targets[i] = &target{name: "user:" + s.user}
	}
	return targets
}

// withOwnTopics gives each client a topic that is named like its user.
func withOwnTopics(specs []spec) []spec {
	for i := range specs {
		specs[i].topics = []string{specs[i].user}
	}
	return specs
}

// lasting is how long n events take.
func lasting(n int, perSecond float64) time.Duration {
	return time.Duration(float64(n) / perSecond * float64(time.Second))
}

// publish adds events at a rate and waits until all deliveries have come.
func (r *rig) publish(ctx context.Context, rate float64, d time.Duration, to audience) error {
	want := r.fleet.counts().events
	err := paced(ctx, rate, 0, d, func(from, n int) error {
		for i := from; i < from+n; i++ {
			t, receivers := to(i)
			r.producer.add(t)
			want += receivers
		}
		return r.producer.flush()
	})
	if err == nil {
		err = r.producer.settled(ctx)
	}
	if err != nil {
		return err
	}
	return r.received(ctx, want)
}

// published measures a publish.
func (r *rig) published(ctx context.Context, phase string, rate float64, d time.Duration, to audience) (*window, error) {
	return r.measure(ctx, phase, func() error { return r.publish(ctx, rate, d, to) })
}

// received waits until the clients have so many events.
func (r *rig) received(ctx context.Context, want uint64) error {
	err := r.fleet.until(ctx, "all clients have what was sent, "+count(want)+" events in all", func(c counts) bool { return c.events >= want })
	if err != nil {
		err = errors.Join(r.in.alive(), err)
	}
	return err
}

// maxBacklog is how many events may wait for workers while events are added that nobody gets.
const maxBacklog = 50_000

// unheard adds events that no client gets, and waits until the workers have done them.
func (r *rig) unheard(ctx context.Context, rate float64, total int, to func(i int) *target) error {
	looked := 0
	err := paced(ctx, rate, total, 0, func(from, n int) error {
		for i := from; i < from+n; i++ {
			r.producer.add(to(i))
		}
		if from-looked > maxBacklog/2 {
			looked = from
			if err := r.in.worked(ctx, maxBacklog); err != nil {
				return err
			}
		}
		return r.producer.flush()
	})
	if err == nil {
		err = r.producer.settled(ctx)
	}
	if err == nil {
		err = r.in.worked(ctx, 0)
	}
	return err
}

// fanOut measures rate events/s to n subscribers of one topic over some gateways, with bare writes of the same frames
// before and after. more, if there is any, is done on the same rig.
func (b *bench) fanOut(ctx context.Context, n, gateways int, rate float64, phase string, more func(r *rig, topic *target) error) (w *window, floors [2]*window, err error) {
	floor := func(when string) (*window, error) {
		return b.writeFloor(ctx, "floor, "+when+": "+phase, n, b.writes(rate))
	}
	floors, err = between(floor, func() error {
		r, err := b.rig(ctx, gateways, b.cfg.size)
		if err != nil {
			return err
		}
		defer r.close()
		name := r.in.name("fan", 0)
		topic := &target{name: "topic:" + name}
		if err := r.connect(ctx, r.in.users("subscriber", n, spec{topics: []string{name}})); err != nil {
			return err
		}
		r.progress.enter("warming up")
		if err := r.publish(ctx, rate, b.cfg.time/8, everyone(topic, n)); err != nil {
			return err
		}
		if w, err = r.published(ctx, phase, rate, b.cfg.time, everyone(topic, n)); err != nil {
			return err
		}
		if more != nil {
			if err := more(r, topic); err != nil {
				return err
			}
		}
		return r.fleet.verdict()
	})
	return w, floors, err
}
