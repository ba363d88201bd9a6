package compose_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

const (
	clients    = 2000
	topics     = 100
	nginxShare = 20              // one client in so many comes through nginx
	arrival    = 5 * time.Second // within which they connect
)

// fleet are clients under load.
type fleet struct {
	tally
	clients  []*client
	producer *producer

	stopClients, stopProducer context.CancelFunc
	running                   sync.WaitGroup // clients
	produced                  chan struct{}  // closed when the producer has ended; nil before its start
	failed                    error          // why it did, readable then
}

func topicName(i int) string { return fmt.Sprint("room-", i) }

// startFleet connects the clients, waits until all are subscribed, and then begins to append.
func startFleet(t *testing.T, s *stack) *fleet {
	t.Helper()
	f := &fleet{}
	for i := range clients {
		through, addr := "HAProxy", s.haproxy
		if i%nginxShare == 0 {
			through, addr = "nginx", s.nginx
		}
		f.clients = append(f.clients, newClient(f, through, addr, fmt.Sprint("user-", i), topicName(i%topics)))
	}
	f.producer = newProducer(f, s.redis)
	f.begin()
	ctx, cancel := context.WithCancel(context.Background())
	f.stopClients = cancel
	for i, c := range f.clients {
		f.running.Go(func() {
			select {
			case <-ctx.Done():
			case <-time.After(arrival * time.Duration(i) / clients):
				c.run(ctx)
			}
		})
	}
	t.Cleanup(f.stop)
	f.waitIn(t)
	producing, stop := context.WithCancel(context.Background())
	f.stopProducer, f.produced = stop, make(chan struct{})
	go func() {
		defer close(f.produced)
		f.failed = f.producer.run(producing)
	}()
	return f
}

// stop ends clients and producer; a second call does nothing.
func (f *fleet) stop() {
	if f.produced != nil {
		f.stopProducer()
		<-f.produced
	}
	f.stopClients()
	f.running.Wait()
	_ = f.producer.rdb.Close()
}

// appendedAt is when an event was appended; the beginning of time if it never was.
func (f *fleet) appendedAt(n int) time.Time {
	if n < 0 || n >= mostEvents {
		return time.Time{}
	}
	return time.Unix(0, f.producer.times[n].Load())
}

// waitIn waits until every client is subscribed to all its targets.
func (f *fleet) waitIn(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		out := 0
		for _, c := range f.clients {
			if !c.in.Load() {
				out++
			}
		}
		if out > 0 {
			return fmt.Errorf("%d of %d clients are not connected; connections ended with %v", out, len(f.clients), f.closedWith())
		}
		return nil
	})
}

// settle waits until every client is connected and has as many events of each of its targets as were appended until
// now. That they are the right ones is the checker's business.
func (f *fleet) settle(t testing.TB) {
	t.Helper()
	want := map[string]int64{}
	for to, n := range f.producer.counts {
		want[to] = n.Load()
	}
	f.waitIn(t)
	eventually(t, func() error {
		missing, example := int64(0), ""
		for _, c := range f.clients {
			for i := range c.views {
				v := &c.views[i]
				if lacks := want[v.to] - v.got.Load(); lacks > 0 {
					missing += lacks
					example = fmt.Sprintf("%s has %d of %d of %s", c.user, v.got.Load(), want[v.to], v.to)
				}
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d deliveries are missing: %s", missing, example)
		}
		return nil
	})
}

// gateways counts the clients of each gateway.
func (f *fleet) gateways() map[string]int {
	n := map[string]int{}
	for _, c := range f.clients {
		n[c.server.Load().(string)]++
	}
	return n
}

// finish ends the load, waits until everybody has everything, and says what each client saw.
func (f *fleet) finish(t testing.TB) {
	t.Helper()
	f.stopProducer()
	<-f.produced
	if f.failed != nil {
		t.Fatal(f.failed)
	}
	f.settle(t)
	for _, c := range f.clients {
		for i := range c.views {
			if v := &c.views[i]; v.got.Load() != f.producer.counts[v.to].Load() {
				t.Errorf("%s has %d events of %s, of %d", c.user, v.got.Load(), v.to, f.producer.counts[v.to].Load())
			}
		}
	}
	f.stop()
	for _, c := range f.clients {
		for i := range c.views {
			c.recorded.At[c.views[i].to] = true
		}
	}
}
