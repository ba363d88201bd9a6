package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What several scenarios do: clients that come, events that are added, figures that are the same everywhere.

// subscribers connects n users that all subscribe to a topic.
func (b *bench) subscribers(ctx context.Context, in *installation, f *fleet, n int, topic string) error {
	b.progress.enter(fmt.Sprintf("connecting %s clients", count(float64(n))))
	specs := make([]spec, n)
	for i := range specs {
		specs[i] = in.user(i, in.name(topic, i))
		specs[i].topics = []string{topic}
	}
	_, err := f.connect(ctx, specs, 0)
	return err
}

// users connects n users, and gives the target of each.
func (b *bench) users(ctx context.Context, in *installation, f *fleet, kind string, n int) ([]*target, error) {
	b.progress.enter(fmt.Sprintf("connecting %s clients", count(float64(n))))
	specs, targets := make([]spec, n), make([]*target, n)
	for i := range specs {
		name := in.name(kind, i)
		specs[i], targets[i] = in.user(i, name), &target{name: "user:" + name}
	}
	_, err := f.connect(ctx, specs, 0)
	return targets, err
}

// publish adds events at a rate and waits until all deliveries have come. next gives the target of the i-th event,
// and how many clients get it.
func (b *bench) publish(ctx context.Context, in *installation, f *fleet, p *producer, rate float64, d time.Duration, next func(i int) (*target, uint64)) error {
	want := f.counts().events
	err := paced(ctx, rate, 0, d, func(from, n int) error {
		for i := from; i < from+n; i++ {
			t, receivers := next(i)
			p.add(t)
			want += receivers
		}
		return p.flush()
	})
	if err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	return b.received(ctx, in, f, want)
}

// received waits until the clients have so many events.
func (b *bench) received(ctx context.Context, in *installation, f *fleet, want uint64) error {
	err := f.until(ctx, fmt.Sprintf("all clients have what was sent (%d events in all)", want), func(c counts) bool { return c.events >= want })
	if err != nil && in.alive() != nil {
		return in.alive()
	}
	return err
}

// maxBacklog is how many events may wait for workers while Redis is filled.
const maxBacklog = 50_000

// unheard adds events that no client gets, and waits until the workers have done them.
func (b *bench) unheard(ctx context.Context, in *installation, p *producer, rate float64, total int, next func(i int) *target) error {
	looked := 0
	err := paced(ctx, rate, total, 0, func(from, n int) error {
		for i := from; i < from+n; i++ {
			p.add(next(i))
		}
		if from-looked > maxBacklog/2 {
			looked = from
			for {
				waiting, err := in.backlog(ctx)
				if err := errors.Join(err, in.alive(), ctx.Err()); err != nil {
					return err
				}
				if waiting < maxBacklog {
					break
				}
				nap(10 * time.Millisecond)
			}
		}
		return p.flush()
	})
	return errors.Join(err, p.settled(ctx), in.worked(ctx))
}

// cost is a figure of CPU seconds for a million. It is not shown for an installation that ran already: whose processes
// those are is not known.
func (b *bench) cost(name string, perMillion float64) *figure {
	if len(b.cfg.gateways) > 0 {
		return &figure{}
	}
	return b.figure(name, perMillion, "CPU s/M")
}

// machineFigures tell how far the machine was shared while a window was measured.
func (b *bench) machineFigures(w *window) {
	b.figure("generator", 100*w.load(roleGenerator), "% of a core")
	b.figure("other processes", 100*w.load(roleOthers), "% of a core").
		note(fmt.Sprintf("hypervisor: %.1f %%", 100*w.stolen/w.took.Seconds()))
}
