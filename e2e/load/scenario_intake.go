package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

var intake = scenario{
	name:  "intake",
	title: "5,000 users over two gateways: 5,000 events/s, appended to their partitions and to the intake",
	about: "Each event is one XADD, sent when it is due, for one of the users; over both ways in turn, five times each. Redis's commands are what " +
		"INFO commandstats says: the time in which they run, without reading, writing and waiting.",
	run: runIntake,
}

const intakeRounds = 5

// way is how events get in, measured once.
type way struct {
	*window
	commands map[string]commandStat // of Redis, by name
}

// both are a round of each way.
type both struct{ direct, intake way }

func (w *way) sum() float64 { return w.cost(roleGateway, roleWorker, roleRedis) }

// ratio is finite also where a window was shorter than the kernel's tick.
func (x *both) ratio() float64 { return x.intake.sum() / max(1, x.direct.sum()) }

// later is how much later half of the events came through the intake, in ms.
func (x *both) later() float64 {
	return milliseconds(x.intake.latency.quantile(0.5)) - milliseconds(x.direct.latency.quantile(0.5))
}

func runIntake(ctx context.Context, b *bench) (found findings, err error) {
	r, err := b.rig(ctx, 2, b.cfg.size)
	if err != nil {
		return found, err
	}
	defer r.close()
	specs := r.in.users("in", b.cfg.n(unicastUsers), spec{})
	if err := r.connect(ctx, specs); err != nil {
		return found, err
	}
	targets, rounds := users(specs), make([]both, 1+intakeRounds)
	for i := range rounds {
		if rounds[i].direct, err = r.way(ctx, viaPartition, i, targets); err == nil {
			rounds[i].intake, err = r.way(ctx, viaIntake, i, targets)
		}
		if err != nil {
			return found, err
		}
	}
	rounds = rounds[1:] // in the first one every user has an event, as in an installation that runs for a while
	median := func(name, unit string, of func(*both) float64) measurement {
		values := make([]float64, len(rounds))
		for i := range rounds {
			values[i] = of(&rounds[i])
		}
		slices.Sort(values)
		m := measured(name, values[len(values)/2], unit).note(fmt.Sprintf("median of %d rounds", len(values)))
		m.Range = &[2]float64{values[0], values[len(values)-1]}
		return m
	}
	found.add(
		median("intake to direct, gateways + worker + Redis", "times", (*both).ratio).atMost(1.15),
		median("p50 later through the intake by", "ms", (*both).later).atMost(0.25),
	)
	slices.SortFunc(rounds, func(x, y both) int { return cmp.Compare(x.ratio(), y.ratio()) })
	mid := &rounds[len(rounds)/2]
	found.add(cost("gateways + worker + Redis", mid.intake.sum()).against("direct", mid.direct.sum()))
	for _, role := range []string{roleGateway, roleWorker, roleRedis} {
		found.add(cost(role, mid.intake.cost(role)).against("direct", mid.direct.cost(role)))
	}
	for _, w := range []struct {
		name string
		way
	}{{"direct", mid.direct}, {"through the intake", mid.intake}} {
		p50, p99 := latency("XADD to client "+w.name, w.latency)
		found.add(p50, p99)
		found.add(w.stageCosts(roleWorker, w.name)...)
		found.add(w.stageCosts(roleGateway, w.name)...)
		for _, name := range w.costly() {
			c := w.commands[name]
			found.add(measured("Redis "+w.name+": "+name, c.usec/float64(max(w.events, 1)), "CPU s/M").
				also("calls an event", c.calls/float64(max(w.events, 1)), "").also("a call", c.usec/c.calls, "µs"))
		}
	}
	found.plot(distributions("Latency from XADD to the client", distribution(mid.direct.phase, mid.direct.latency), distribution(mid.intake.phase, mid.intake.latency)))
	return found, r.fleet.verdict()
}

// way measures one way.
func (r *rig) way(ctx context.Context, via string, round int, targets []*target) (w way, err error) {
	through := *r
	if through.producer, err = r.in.producer(ctx, via, r.cfg.size); err != nil {
		return w, err
	}
	defer through.producer.close()
	rate := float64(r.cfg.n(unicastSlow))
	d, to := r.cfg.time, atRandom(targets)
	if round == 0 {
		d, to = lasting(len(targets), rate), inTurn(targets)
	}
	before := r.in.commands(ctx)
	w.window, err = through.published(ctx, fmt.Sprintf("by %s, round %d", via, round), rate, d, to)
	w.commands = r.in.commands(ctx)
	for name, b := range before {
		c := w.commands[name]
		w.commands[name] = commandStat{c.calls - b.calls, c.usec - b.usec}
	}
	return w, err
}

// costly are the commands that took most, up to ten.
func (w *way) costly() []string {
	var names []string
	for name, c := range w.commands {
		if c.calls > 0 && c.usec/float64(max(w.events, 1)) >= 0.05 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(w.commands[b].usec, w.commands[a].usec) })
	return names[:min(10, len(names))]
}
