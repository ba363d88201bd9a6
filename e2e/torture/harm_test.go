package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// link draws one of the links; those to Redis of processes that live.
func (d *damage) link() *link {
	var l *link
	switch d.rng.IntN(7) {
	case 0, 1:
		l = d.one(d.gateways).front
	case 2, 3:
		l = d.one(d.gateways).back
	case 4, 5:
		l = d.one(d.workers).back
	default:
		l = d.producers
	}
	d.place = l.name
	return l
}

func (d *damage) linkCut() { d.link().cut() }

func (d *damage) linkAway() {
	l := d.link()
	l.change(func(w *weather) { w.refuse = true })
	l.cut()
	d.wait()
	l.clear()
}

func (d *damage) linkDelay() {
	l := d.link()
	delay := time.Duration(5+d.rng.IntN(200)) * time.Millisecond
	l.change(func(w *weather) { w.delay = delay })
	d.wait()
	l.clear()
}

func (d *damage) linkStall() {
	l := d.link()
	stalled := [2]bool{}
	stalled[d.rng.IntN(2)] = true
	l.change(func(w *weather) { w.stalled = stalled })
	d.wait()
	l.clear()
}

func (d *damage) linkSilent() {
	half, dark := d.rng.IntN(3) > 0, direction(d.rng.IntN(2))
	d.link().silence(half, dark)
}

func (d *damage) linkSplit() {
	l := d.link()
	l.change(func(w *weather) { w.split = true })
	d.wait()
	l.clear()
}

// linkReply loses replies, then the connections: the commands have run.
func (d *damage) linkReply() {
	l := d.link()
	l.hush(down)
	d.wait()
	l.cut()
}

// trim takes the older part of some histories away, as their bound would: who is away now misses it.
func (d *damage) trim() {
	for i := range topics {
		if d.rng.IntN(2) == 0 {
			d.trimOne(topicTarget(i), int64(1+d.rng.IntN(4)))
		}
	}
}

func (d *damage) trimOne(to string, keep int64) {
	key := historyKey(to)
	d.must("trim a history", func(ctx context.Context) error {
		newest, err := d.rdb.XRevRangeN(ctx, key, "+", "-", keep).Result()
		if err != nil || int64(len(newest)) < keep {
			return err
		}
		return d.rdb.XTrimMinID(ctx, key, newest[len(newest)-1].ID).Err()
	})
}

// ingress draws an ingress stream: its key, and the begin of the keys beside it.
func (d *damage) ingress() (stream, beside string) {
	p := d.rng.IntN(partitions+1) - 1
	if p < 0 {
		return intakeStream, "sluice:{" + intakeStream + "}:"
	}
	return ingressStream(p), partitionKey(p, "")
}

// forget deletes a key.
func (d *damage) forget(key string) {
	d.must("delete "+key, func(ctx context.Context) error { return d.rdb.Del(ctx, key).Err() })
}

// loseGroup takes away the consumer group of a stream: who reads it does not know any more what was done.
func (d *damage) loseGroup() {
	stream, _ := d.ingress()
	d.must("list groups", func(ctx context.Context) error {
		groups, err := d.rdb.XInfoGroups(ctx, stream).Result()
		if err != nil && strings.Contains(err.Error(), "no such key") {
			return nil
		}
		for _, g := range groups {
			err = errors.Join(err, d.rdb.XGroupDestroy(ctx, stream, g.Name).Err())
		}
		return err
	})
	d.place = stream
}

func (d *damage) loseEpoch() {
	_, beside := d.ingress()
	d.forget(beside + "epoch")
	d.place = beside
}

func (d *damage) loseLease() {
	_, beside := d.ingress()
	d.forget(beside + "lease")
	d.place = beside
}

// loseSessions takes away who holds a target.
func (d *damage) loseSessions() {
	to := somewhere(d.rng)
	d.forget(partitionKey(wire.Partition(to, partitions), "session:"+to))
	d.place = to
}

func (d *damage) loseMembers() {
	key := []string{"sluice:servers", "sluice:workers"}[d.rng.IntN(2)]
	d.forget(key)
	d.place = key
}

// idsJump adds an event under an id of its own choice, some time ahead; those after it follow that.
func (d *damage) idsJump() {
	d.journal.wiping.Lock()
	defer d.journal.wiping.Unlock()
	to := somewhere(d.rng)
	stream := ingressStream(wire.Partition(to, partitions))
	n := d.journal.number()
	ahead := d.redisMs() + d.rng.Int64N(mostAhead.Milliseconds())
	d.journal.jumped = max(d.journal.jumped, ahead)
	try := d.journal.begin(Append{N: n, To: to, Way: Direct, Lane: "ids-jump"})
	id, err := d.rdb.XAdd(d.ctx, &redis.XAddArgs{
		Stream: stream, ID: fmt.Sprintf("%d-0", ahead), Values: []string{"to", to, "data", payload(n), "event", nameOf(n)},
	}).Result()
	o, parsed := outcome(id, err)
	d.journal.end(try, o, parsed, false)
	d.place = to
}

// mostAhead bounds how far ids jump: FLUSHALL waits until the time has come, so that later ids are higher.
const mostAhead = 5 * time.Second

func (d *damage) redisMs() (ms int64) {
	d.must("ask Redis for its time", func(ctx context.Context) error {
		t, err := d.rdb.Time(ctx).Result()
		ms = t.UnixMilli()
		return err
	})
	return ms
}

// evict deletes the history of a topic, as Redis does under another policy than the one it should have.
func (d *damage) evict() {
	to := topicTarget(d.rng.IntN(topics))
	d.forget(historyKey(to))
	d.place = to
}
