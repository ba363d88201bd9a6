package compose_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/e2e/torture"
	"sluice/shared/wire"
)

const (
	rate       = 500 // events a second
	mostAtOnce = 50  // of them: what could not be appended in time, since Redis was away, does not come all at once
	partitions = 16
	mostEvents = 1_000_000
)

// keyOf is a key of a partition, as it is documented.
func keyOf(p int, name string) string {
	return "sluice:{" + wire.Tags(partitions)[p] + "}:" + name
}

// producer appends numbered events at a steady rate. Each has an idempotency key and is added again until its append
// was answered, so that it stands in the history exactly once.
type producer struct {
	fleet   *fleet
	rdb     *redis.Client
	times   []atomic.Int64 // when an event was added first, in Unix nanoseconds
	counts  map[string]*atomic.Int64
	lanes   []torture.Append // of the producer's goroutine
	number  int              // of the next event
	waiting []entry          // without an answer
}

type entry struct {
	n          int
	to, stream string
	way        torture.Way
}

func newProducer(f *fleet, addr string) *producer {
	p := &producer{fleet: f, times: make([]atomic.Int64, mostEvents), counts: map[string]*atomic.Int64{}}
	// It repeats nothing by itself: the log would not know of it.
	p.rdb = redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, Protocol: 2, DisableIdentity: true,
		DialTimeout: 2 * time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second})
	for _, c := range f.clients {
		for i := range c.views {
			if to := c.views[i].to; p.counts[to] == nil {
				p.counts[to] = &atomic.Int64{}
			}
		}
	}
	return p
}

// run appends until ctx ends, and then what has no answer yet.
func (p *producer) run(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for paid := time.Now(); ; {
		select {
		case <-ctx.Done():
			for end := time.Now().Add(patience); len(p.waiting) > 0; p.send() {
				if time.Now().After(end) {
					return fmt.Errorf("%d events could not be appended at the end", len(p.waiting))
				}
			}
			return nil
		case <-tick.C:
		}
		if len(p.waiting) == 0 {
			due := int(time.Since(paid) * rate / time.Second)
			paid = paid.Add(time.Duration(due) * time.Second / rate)
			for range min(due, mostAtOnce) {
				p.waiting = append(p.waiting, p.next())
			}
		}
		p.send()
	}
}

// next makes an event: four of five for a user, the others for topics, and a few for everybody. Nine of ten come over
// the intake.
func (p *producer) next() entry {
	n := p.number
	p.number++
	to := wire.UserTarget(p.fleet.clients[n%len(p.fleet.clients)].user)
	switch {
	case n%(rate*5) == rate:
		to = everybody
	case n%5 == 0:
		to = wire.TopicTarget(topicName(n / 5 % topics))
	}
	e := entry{n: n, to: to, stream: "sluice:events", way: torture.Intake}
	if n%10 == 3 {
		e.stream, e.way = keyOf(wire.Partition(to, partitions), "events"), torture.Direct
	}
	p.times[n].Store(time.Now().UnixNano())
	return e
}

// send adds what waits. What gets no answer goes on waiting.
func (p *producer) send() {
	cmds := make([]*redis.StringCmd, len(p.waiting))
	begin := time.Now()
	_, _ = p.rdb.Pipelined(context.Background(), func(pipe redis.Pipeliner) error { // each command has its own error
		for i, e := range p.waiting {
			cmds[i] = pipe.XAdd(context.Background(), &redis.XAddArgs{Stream: e.stream,
				Values: []any{"to", e.to, "data", fmt.Sprintf(`{"n":%d}`, e.n), "id", fmt.Sprint("event-", e.n)}})
		}
		return nil
	})
	var again []entry
	for i, e := range p.waiting {
		a := torture.Append{N: e.n, To: e.to, Way: e.way, Lane: e.way.String(), Key: fmt.Sprint("event-", e.n), At: begin}
		id, err := cmds[i].Result()
		if err == nil {
			a.ID, err = wire.ParseID(id)
		}
		if err == nil {
			a.Outcome = torture.Acked
			p.counts[e.to].Add(1)
			p.fleet.appended()
		} else {
			again = append(again, e)
		}
		p.lanes = append(p.lanes, a)
	}
	p.waiting = again
}
