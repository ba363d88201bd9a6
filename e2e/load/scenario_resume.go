package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

var resume = scenario{
	name:  "resume",
	title: "2,000 clients drop, 50 events each come meanwhile, all return at once",
	about: "Once the events are one topic's that all share, once each user's own. Measured is the time from the first connect " +
		"to the last client that has all its events. The floor accepts, and writes a fixed answer and 50 frames at once.",
	run: runResume,
}

const (
	resumeClients = 2000
	resumeEvents  = 50
	resumeRounds  = 3
	resumeRate    = 20_000 // events/s while they are away
)

func runResume(ctx context.Context, b *bench) error {
	n := b.cfg.n(resumeClients)
	path := fmt.Sprintf("%s?n=%d", greeting, resumeEvents)
	floors := func() (float64, error) {
		var all []float64
		for range resumeRounds {
			d, err := floorStorm(ctx, b, n, path, resumeEvents)
			if err != nil {
				return 0, err
			}
			all = append(all, milliseconds(d))
		}
		return median(all), nil
	}
	before, err := floors()
	if err != nil {
		return err
	}
	in, f, done, err := b.install(ctx, 2)
	if err != nil {
		return err
	}
	defer done()
	f.close() // each round has its own
	p, err := in.producer(ctx, b.cfg.via, b.cfg.size)
	if err != nil {
		return err
	}
	defer p.close()
	var shared, own []*comeback
	for round := range resumeRounds {
		one, err := b.comeback(ctx, in, p, n, round, true)
		if err != nil {
			return err
		}
		shared = append(shared, one)
		if one, err = b.comeback(ctx, in, p, n, round, false); err != nil {
			return err
		}
		own = append(own, one)
	}
	after, err := floors()
	if err != nil {
		return err
	}
	for _, x := range []struct {
		name   string
		rounds []*comeback
	}{{"shared topic", shared}, {"own user", own}} {
		slices.SortFunc(x.rounds, func(a, b *comeback) int { return int(a.last - b.last) })
		mid := x.rounds[len(x.rounds)/2]
		b.figure(x.name+": last one complete after", milliseconds(mid.last), "ms").
			against("bare accept and write", before, after).atMost(400).
			note(fmt.Sprintf("median of %d rounds, %.0f to %.0f ms", resumeRounds, milliseconds(x.rounds[0].last), milliseconds(x.rounds[len(x.rounds)-1].last)))
		b.figure(x.name+": half of them complete after", milliseconds(mid.each.quantile(0.5)), "ms after its own connect")
		b.cost(x.name+": gateways, for a client", mid.window.costPer(uint64(n), roleGateway))
		b.cost(x.name+": Redis, for a client", mid.window.costPer(uint64(n), roleRedis))
		b.figure(x.name+": reads of histories", mid.ranges/float64(n), "a client").
			note("XRANGE and XREVRANGE that Redis ran, for the own user and all too")
	}
	b.machineFigures(shared[len(shared)/2].window)
	b.chartDistribution("Time until a client has all its events", curveOf("shared topic", shared[len(shared)/2].each), curveOf("own user", own[len(own)/2].each))
	return nil
}

// comeback is one round.
type comeback struct {
	last   time.Duration // from the first connect to the last client that has everything
	each   *hist         // from a client's own connect
	ranges float64       // XRANGE and XREVRANGE commands that Redis ran
	window *window
}

func (b *bench) comeback(ctx context.Context, in *installation, p *producer, n, round int, shared bool) (*comeback, error) {
	kind := fmt.Sprintf("own%d", round)
	if shared {
		kind = fmt.Sprintf("shared%d", round)
	}
	f, err := newFleet(b.cfg.loops)
	if err != nil {
		return nil, err
	}
	defer f.close()
	topic := in.name(kind, 0)
	common := &target{name: "topic:" + topic}
	specs, targets := make([]spec, n), make([]*target, n)
	for i := range specs {
		name := in.name(kind, i)
		specs[i], targets[i] = in.user(i, name), &target{name: "user:" + name}
		specs[i].positions = true
		if shared {
			specs[i].topics, targets[i] = []string{topic}, common
		}
	}
	b.progress.enter(fmt.Sprintf("%s, round %d: connecting", kind, round+1))
	clients, err := f.connect(ctx, specs, 0)
	if err != nil {
		return nil, err
	}
	// One event before, so that positions are ids of events.
	want := f.counts().events
	for i, t := range targets {
		if i == 0 || !shared {
			p.add(t)
			if shared {
				want += uint64(n)
			} else {
				want++
			}
		}
	}
	if err := errors.Join(p.flush(), b.received(ctx, in, f, want)); err != nil {
		return nil, err
	}
	positions := f.last(clients)
	f.cut()

	b.progress.enter(kind + ": events while they are away")
	total := n * resumeEvents
	if shared {
		total = resumeEvents
	}
	err = paced(ctx, resumeRate, total, 0, func(from, k int) error {
		for i := from; i < from+k; i++ {
			p.add(targets[i%n])
		}
		return p.flush()
	})
	if err := errors.Join(err, p.settled(ctx), in.worked(ctx)); err != nil {
		return nil, err
	}

	back, err := newFleet(b.cfg.loops)
	if err != nil {
		return nil, err
	}
	defer back.close()
	for i := range specs {
		s := &specs[i]
		s.topics, s.want, s.next, s.positions = nil, resumeEvents, 2, false
		s.after = targets[i].name + "=" + positions[i]
		if shared {
			s.resumes = 1
		} else {
			s.after = "user:" + url.PathEscape(s.user) + "=" + positions[i]
		}
	}
	c := &comeback{}
	ranges := in.calls(ctx, "xrange") + in.calls(ctx, "xrevrange")
	m := &meter{b: b, in: in, fleet: back, phase: kind + ": return"}
	c.window, err = m.measure(ctx, func() error {
		begin := time.Now()
		if _, err := back.connect(ctx, specs, 0); err != nil {
			return err
		}
		err := back.until(ctx, "all clients have all their events", func(c counts) bool { return c.whole >= uint64(n) })
		c.last = time.Since(begin)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.ranges = in.calls(ctx, "xrange") + in.calls(ctx, "xrevrange") - ranges
	c.each = back.takeWholes()
	return c, back.verdict()
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
