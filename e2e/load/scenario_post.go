package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	sluice "sluice/shared/producer"
	"sluice/shared/wire"
)

var post = scenario{
	name:  "post",
	title: "POST /v1/events with 1,000 events, and the same by the Go producer over Redis",
	about: "One request after the other with events for 100 topics that nobody hears, over HTTP and over Redis in turn, five times each, until the workers have " +
		"appended all. The cost is that of all processes: the producer, which is in the generator's process, gateway, worker and Redis.",
	own: true,
	run: runPost,
}

const (
	postRounds = 5
	postTopics = 100
)

// posted is what a round of each way took.
type posted struct {
	http, redis *window
	posts, adds int // events
}

var allRoles = []string{roleGenerator, roleGateway, roleWorker, roleRedis}

func (p *posted) ratio() float64 {
	return p.http.costPer(p.posts, allRoles...) / p.redis.costPer(p.adds, allRoles...)
}

func runPost(ctx context.Context, b *bench) (found findings, err error) {
	r, err := b.rig(ctx, 1, b.cfg.size)
	if err != nil {
		return found, err
	}
	defer r.close()
	token := func(context.Context) (string, error) { return b.cfg.tokenFor(r.in.name("poster", 0)), nil }
	overHTTP, err1 := sluice.New("http://"+r.in.gateways[0].String(), sluice.Options{Token: token})
	overRedis, err2 := sluice.New("redis://"+r.in.options.Addr, sluice.Options{})
	if err := errors.Join(err1, err2); err != nil {
		return found, err
	}
	defer func() { _, _ = overHTTP.Close(), overRedis.Close() }()
	rounds := make([]posted, 1+postRounds)
	for i := range rounds {
		p := &rounds[i]
		p.http, p.posts, err = r.post(ctx, fmt.Sprint("over HTTP, round ", i), overHTTP)
		if err == nil {
			p.redis, p.adds, err = r.post(ctx, fmt.Sprint("over Redis, round ", i), overRedis)
		}
		if err != nil {
			return found, err
		}
	}
	rounds = rounds[1:] // the first one warmed up
	slices.SortFunc(rounds, func(x, y posted) int { return cmp.Compare(x.ratio(), y.ratio()) })
	mid := &rounds[postRounds/2]
	ratio := measured("HTTP to Redis", mid.ratio(), "times").note(fmt.Sprintf("median of %d rounds", postRounds)).atMost(1.3)
	ratio.Range = &[2]float64{rounds[0].ratio(), rounds[postRounds-1].ratio()}
	found.add(ratio, cost("all, over HTTP", mid.http.costPer(mid.posts, allRoles...)).against("over Redis", mid.redis.costPer(mid.adds, allRoles...)))
	for _, role := range allRoles {
		found.add(cost(role+", over HTTP", mid.http.costPer(mid.posts, role)).against("over Redis", mid.redis.costPer(mid.adds, role)))
	}
	return found, nil
}

// post publishes requests of as many events as one may have, for a time, and waits until the workers have done them.
func (r *rig) post(ctx context.Context, phase string, p *sluice.Producer) (w *window, events int, err error) {
	batch := make([]sluice.Event, wire.MaxPosts)
	w, err = r.measure(ctx, phase, func() error {
		for begin := time.Now(); events == 0 || time.Since(begin) < r.cfg.time/4; {
			for i := range batch {
				events++
				batch[i] = sluice.Event{To: "topic:" + r.in.name("posted", i%postTopics), Data: appendData(nil, r.cfg.size, uint32(events), clock())}
			}
			if err := p.Publish(ctx, batch...); err != nil {
				return err
			}
		}
		return r.in.worked(ctx, 0)
	})
	return w, events, err
}
