package torture

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/wire"
)

// What is ordinary, beside the faults: topics that are quiet for longer than their history lives, more topics than the
// workers' caches hold, clients that want hundreds of them, and crowds.
const (
	quietPrefix = "topic:quiet-"
	quietTopics = 12
	mostQuiet   = 2 // of one client

	widePrefix = "topic:wide-"
	wideTopics = 400
	mostWide   = 150 // of one client
	wideRate   = 25  // events a second for all of them
)

// wide are topics of a few partitions, so that the workers remember those of the others for long.
var wide = func() (list []string) {
	for i := 0; len(list) < wideTopics; i++ {
		if to := fmt.Sprintf("%s%d", widePrefix, i); wire.Partition(to, partitions) < 4 {
			list = append(list, to)
		}
	}
	return list
}()

// quietly adds a few events to topics after their histories have expired. Just before, somebody subscribes; seldom is
// anybody else there.
func (p *producer) quietly(ctx context.Context) {
	defer func() { _ = p.rdb.Close() }()
	var next [quietTopics]time.Time
	for i := range next {
		next[i] = time.Now().Add(time.Duration(p.rng.Int64N(int64(p.plan.ttl / 2))))
	}
	for pause(ctx, 50*time.Millisecond) {
		for i := range next {
			if time.Now().Before(next[i]) {
				continue
			}
			to := fmt.Sprintf("%s%d", quietPrefix, i)
			if p.rng.IntN(4) > 0 {
				p.invite(to, origin(p.rng.IntN(3)))
				pause(ctx, time.Duration(p.rng.Int64N(int64(2*mostApart))))
			}
			for range 1 + p.rng.IntN(2) {
				p.send([]try{p.entry(Append{N: p.number(), To: to, Way: p.way, Lane: p.lane})})
			}
			// A history may live an eighth longer than it must.
			next[i] = time.Now().Add(p.plan.ttl*9/8 + 500*time.Millisecond + time.Duration(p.rng.Int64N(int64(3*time.Second))))
		}
	}
}

// widely adds events to topics of which there are more than a cache holds.
func (p *producer) widely(ctx context.Context) {
	defer func() { _ = p.rdb.Close() }()
	for {
		n := 1 + p.rng.IntN(2*mostInBatch)
		if !pause(ctx, time.Duration(n)*time.Second/wideRate) {
			return
		}
		tries := make([]try, n)
		for i := range tries {
			tries[i] = p.entry(Append{N: p.number(), To: wide[p.rng.IntN(wideTopics)], Way: p.way, Lane: p.lane})
		}
		p.send(tries)
	}
}

const (
	crowdSize     = 60
	crowdPatience = 1500 * time.Millisecond // until `welcome`: then it tries again at once
)

// crowd is many clients that come at once to one gateway, give up soon, and come again.
func (d *damage) crowd() {
	ctx, cancel := context.WithTimeout(d.ctx, d.fault.long)
	defer cancel()
	g := d.one(d.gateways)
	var all sync.WaitGroup
	for i := range crowdSize {
		positions := map[string]wire.ID{}
		for j := range 5 {
			positions[topicTarget((i+j)%topics)] = wire.ID{}
		}
		q := url.Values{"token": {fmt.Sprintf("dev:crowd-%d", i)}, "last_event_id": {wire.Cursor(positions)}}
		all.Go(func() {
			for ctx.Err() == nil {
				comeAndGo(ctx, "ws://"+g.front.addr()+"/v1/ws?"+q.Encode())
			}
		})
	}
	all.Wait()
}

// comeAndGo is one try of one of a crowd: who got in stays for a while.
func comeAndGo(ctx context.Context, u string) {
	dialer := websocket.Dialer{HandshakeTimeout: crowdPatience}
	ws, _, err := dialer.DialContext(ctx, u, nil)
	if err != nil {
		pause(ctx, 50*time.Millisecond)
		return
	}
	defer func() { _ = ws.Close() }()
	defer context.AfterFunc(ctx, func() { _ = ws.Close() })()
	_ = ws.SetReadDeadline(time.Now().Add(crowdPatience))
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			return
		}
	}
}
