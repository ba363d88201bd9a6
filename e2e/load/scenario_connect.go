package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
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

func runConnects(ctx context.Context, b *bench) error {
	in, f, done, err := b.install(ctx, 2)
	if err != nil {
		return err
	}
	defer done()

	newcomers := func(kind string, n int) []spec {
		specs := make([]spec, n)
		for i := range specs {
			specs[i] = in.user(i, in.name(kind, i))
			specs[i].topics = []string{in.name(kind, i)}
		}
		return specs
	}
	// come connects all of them while a window is measured.
	come := func(m *meter, specs []spec, rate float64) (w *window, opening *hist, took time.Duration, err error) {
		fl, err := newFleet(b.cfg.loops)
		if err != nil {
			return nil, nil, 0, err
		}
		defer fl.close()
		w, err = m.measure(ctx, func() error {
			begin := time.Now()
			_, err := fl.connect(ctx, specs, rate)
			took = time.Since(begin)
			return err
		})
		return w, fl.takeOpening(), took, err
	}

	n := b.cfg.n(connectRate) * int(max(1, b.cfg.time.Seconds()))
	n = min(n, b.cfg.n(stormSize))
	w, opening, _, err := come(&meter{b: b, in: in, phase: "connects at " + count(float64(b.cfg.n(connectRate))) + "/s"},
		newcomers("rate", n), float64(b.cfg.n(connectRate)))
	if err != nil {
		return err
	}
	b.latencyFigures("connect at "+count(float64(b.cfg.n(connectRate)))+"/s", opening)
	b.cost("gateways, for a connect", w.costPer(uint64(n), roleGateway))
	b.cost("Redis, for a connect", w.costPer(uint64(n), roleRedis))

	targets, err := b.users(ctx, in, f, "old", b.cfg.n(established))
	if err != nil {
		return err
	}
	p, err := in.producer(ctx, b.cfg.via, b.cfg.size)
	if err != nil {
		return err
	}
	defer p.close()
	next := func(i int) (*target, uint64) { return targets[i%len(targets)], 1 }
	rate := float64(b.cfg.n(stormEvents))
	m := &meter{b: b, in: in, fleet: f, phase: "before the storm"}
	calm, err := m.measure(ctx, func() error { return b.publish(ctx, in, f, p, rate, b.cfg.time, next) })
	if err != nil {
		return err
	}

	// meanwhile does something while the events go on.
	meanwhile := func(do func() error) error {
		over, stop := context.WithCancel(ctx)
		sending := make(chan error, 1)
		go func() {
			err := b.publish(over, in, f, p, rate, patience, next)
			if over.Err() != nil && ctx.Err() == nil {
				err = nil // as it was meant
			}
			sending <- err
		}()
		err := do()
		stop()
		return errors.Join(err, <-sending)
	}
	storm := newcomers("storm", b.cfg.n(stormSize))
	// First the same number of connects to the floor: they take CPU from everybody, too.
	var bareTook time.Duration
	bare, err := (&meter{b: b, in: in, fleet: f, phase: "storm of the floor"}).measure(ctx, func() error {
		return meanwhile(func() (err error) {
			bareTook, err = floorStorm(ctx, b, len(storm), "/hold", 0)
			return err
		})
	})
	if err != nil {
		return err
	}
	reads, commands := in.redisReads(ctx)
	var took time.Duration
	err = meanwhile(func() (err error) {
		w, opening, took, err = come(&meter{b: b, in: in, fleet: f, phase: "storm of " + count(float64(len(storm)))}, storm, 0)
		return err
	})
	if err != nil {
		return err
	}
	reads2, commands2 := in.redisReads(ctx)

	b.figure("storm: all open after", took.Seconds(), "s").beside("bare accept and answer", bareTook.Seconds())
	b.figure("storm: connects", float64(len(storm))/took.Seconds(), "/s")
	b.latencyFigures("storm: connect", opening)
	b.figure("storm: failed connects", 0, "").atMost(0)
	b.cost("storm: gateways, for a connect", w.costPer(uint64(len(storm)), roleGateway))
	b.cost("storm: Redis, for a connect", w.costPer(uint64(len(storm)), roleRedis))
	if reads2 > reads {
		b.figure("storm: commands in a read of Redis", (commands2-commands)/(reads2-reads), "").
			note("more than a few says that the session writes are pipelined")
	}
	b.latencyFigures("established clients, before", &calm.latency)
	_, p99 := b.latencyFigures("established clients, during the storm", &w.latency)
	p99.beside("before", milliseconds(calm.latency.quantile(0.99))).ratioAtMost(2)
	_, p99 = b.latencyFigures("established clients, during a storm at the floor", &bare.latency)
	p99.beside("before", milliseconds(calm.latency.quantile(0.99)))
	b.machineFigures(w)
	b.chartDistribution("Latency of established clients", curveOf("before", &calm.latency), curveOf("storm at the floor", &bare.latency), curveOf("during the storm", &w.latency))
	b.chartDistribution("Duration of a connect in the storm", curveOf("connect", opening))
	b.chartWindow(w)
	return f.verdict()
}

// floorStorm connects n clients to the floor at once and says when the last one had what it wanted.
func floorStorm(ctx context.Context, b *bench, n int, path string, want uint32) (time.Duration, error) {
	b.progress.enter("floor: " + count(float64(n)) + " connects")
	s, err := startFloor(ctx)
	if err != nil {
		return 0, err
	}
	defer s.close()
	f, err := newFleet(b.cfg.loops)
	if err != nil {
		return 0, err
	}
	defer f.close()
	begin := time.Now()
	if err := s.clients(ctx, f, n, path, want); err != nil {
		return 0, err
	}
	if want > 0 {
		err = f.until(ctx, "the floor's clients have their frames", func(c counts) bool { return c.whole >= uint64(n) })
	}
	return time.Since(begin), err
}

// redisReads is how many reads from clients Redis has done, and how many commands were in them; 0 if it does not say.
func (in *installation) redisReads(ctx context.Context) (reads, commands float64) {
	info, err := in.rdb.Info(ctx, "stats").Result()
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "total_reads_processed":
			reads = n
		case "total_commands_processed":
			commands = n
		}
	}
	return reads, commands
}

// calls is how often Redis has run a command.
func (in *installation) calls(ctx context.Context, command string) float64 {
	info, err := in.rdb.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(info, fmt.Sprintf("cmdstat_%s:calls=", command))
	if !ok {
		return 0
	}
	text, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.ParseFloat(text, 64)
	return n
}
