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

func runResume(ctx context.Context, b *bench) (found findings, err error) {
	n := b.cfg.n(resumeClients)
	floor := func(string) (time.Duration, error) {
		var rounds []time.Duration
		for range resumeRounds {
			took, err := b.floorStorm(ctx, n, fmt.Sprintf("%s?n=%d", greeting, resumeEvents), resumeEvents)
			if err != nil {
				return 0, err
			}
			rounds = append(rounds, took)
		}
		slices.Sort(rounds)
		return rounds[resumeRounds/2], nil
	}
	var shared, own []*comeback // sorted
	floors, err := between(floor, func() error {
		r, err := b.rig(ctx, 2, b.cfg.size)
		if err != nil {
			return err
		}
		defer r.close()
		for round := range resumeRounds {
			one, err := r.comeback(ctx, fmt.Sprintf("shared%d", round), n, true)
			if err != nil {
				return err
			}
			other, err := r.comeback(ctx, fmt.Sprintf("own%d", round), n, false)
			if err != nil {
				return err
			}
			shared, own = append(shared, one), append(own, other)
		}
		for _, rounds := range [][]*comeback{shared, own} {
			slices.SortFunc(rounds, func(a, b *comeback) int { return int(a.last - b.last) })
		}
		return nil
	})
	if err != nil {
		return found, err
	}
	var curves []curve
	for _, x := range []struct {
		name   string
		rounds []*comeback
	}{{"shared topic", shared}, {"own user", own}} {
		mid := x.rounds[resumeRounds/2]
		last := measured(x.name+": last one complete after", milliseconds(mid.last), "ms").
			against("bare accept and write", each(floors, milliseconds)...).atMost(400).note(fmt.Sprintf("median of %d rounds", resumeRounds))
		last.Range = &[2]float64{milliseconds(x.rounds[0].last), milliseconds(x.rounds[resumeRounds-1].last)}
		found.add(
			last,
			measured(x.name+": half of them complete after", milliseconds(mid.each.quantile(0.5)), "ms after its own connect"),
			cost(x.name+": gateways, for a client", mid.costPer(n, roleGateway)),
			cost(x.name+": Redis, for a client", mid.costPer(n, roleRedis)),
			measured(x.name+": reads of histories", mid.ranges/float64(n), "a client").
				note("XRANGE and XREVRANGE that Redis ran, for the own user and all too"),
		)
		curves = append(curves, distribution(x.name, mid.each))
	}
	found.add(machineLoad(shared[resumeRounds/2].window))
	found.plot(distributions("Time until a client has all its events", curves...))
	return found, nil
}

// comeback is one round.
type comeback struct {
	*window
	last   time.Duration // from the first connect to the last client that has everything
	each   hist          // from a client's own connect
	ranges float64       // XRANGE and XREVRANGE commands that Redis ran
}

func (r *rig) comeback(ctx context.Context, kind string, n int, shared bool) (*comeback, error) {
	fleet, err := newFleet(r.cfg.loops)
	if err != nil {
		return nil, err
	}
	defer fleet.close()
	first := *r
	first.fleet = fleet
	specs := r.in.users(kind, n, spec{positions: true})
	targets := users(specs)
	if shared {
		name := r.in.name(kind, 0)
		common := &target{name: "topic:" + name}
		for i := range specs {
			specs[i].topics, targets[i] = []string{name}, common
		}
	}
	r.progress.enter(kind + ": connecting")
	clients, err := fleet.connect(ctx, specs, 0)
	if err != nil {
		return nil, err
	}
	distinct := targets
	if shared {
		distinct = targets[:1]
	}
	// One event before, so that positions are ids of events.
	for _, t := range distinct {
		r.producer.add(t)
	}
	if err := errors.Join(r.producer.flush(), first.received(ctx, uint64(n))); err != nil {
		return nil, err
	}
	positions := fleet.last(clients)
	fleet.cut()

	r.progress.enter(kind + ": events while they are away")
	err = r.unheard(ctx, resumeRate, len(distinct)*resumeEvents, func(i int) *target { return distinct[i%len(distinct)] })
	if err != nil {
		return nil, err
	}

	again := *r
	if again.fleet, err = newFleet(r.cfg.loops); err != nil {
		return nil, err
	}
	defer again.fleet.close()
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
	ranges := r.in.calls(ctx, "xrange", "xrevrange")
	c.window, err = again.measure(ctx, kind+": return", func() error {
		begin := time.Now()
		if _, err := again.fleet.connect(ctx, specs, 0); err != nil {
			return err
		}
		err := again.fleet.until(ctx, "all clients have all their events", func(c counts) bool { return c.whole >= uint64(n) })
		c.last = time.Since(begin)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.ranges = r.in.calls(ctx, "xrange", "xrevrange") - ranges
	c.each = again.fleet.take(newHist(), func(l *latencies) hist { return l.wholes })
	return c, again.fleet.verdict()
}
