package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// fleet is all clients of a scenario, spread over the loops.
type fleet struct {
	loops []*loop
	next  int
}

func newFleet(loops int) (*fleet, error) {
	f := &fleet{}
	for range loops {
		l, err := newLoop()
		if err != nil {
			f.close()
			return nil, err
		}
		f.loops = append(f.loops, l)
	}
	return f, nil
}

func (f *fleet) close() {
	for _, l := range f.loops {
		l.close()
	}
}

// portsPerSource is how many connections to one gateway come from one address: Linux has 28,232 ports by default.
const portsPerSource = 20_000

// dial begins a connection. On loopback the source addresses change before their ports run out.
func (f *fleet) dial(s spec) (*client, error) {
	var from netip.Addr
	if s.gateway.Addr().Is4() && s.gateway.Addr().IsLoopback() {
		from = netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + f.next/portsPerSource)})
	}
	l := f.loops[f.next%len(f.loops)]
	f.next++
	return l.dial(s, from)
}

// connect dials all specs, at most perSecond of them (0: as fast as it goes), and waits until each is open.
func (f *fleet) connect(ctx context.Context, specs []spec, perSecond float64) ([]*client, error) {
	clients := make([]*client, 0, len(specs))
	before := f.counts()
	dial := func(from, n int) error {
		for i := from; i < from+n; i++ {
			c, err := f.dial(specs[i])
			if err != nil {
				return err
			}
			clients = append(clients, c)
		}
		return nil
	}
	if err := paced(ctx, perSecond, len(specs), 0, dial); err != nil {
		return clients, err
	}
	return clients, f.until(ctx, "all clients are open", func(c counts) bool {
		return c.opens-before.opens+c.failed-before.failed >= uint64(len(specs))
	})
}

// until waits for a condition on the counts. A connection that ends by itself ends the wait, too.
func (f *fleet) until(ctx context.Context, what string, ok func(counts) bool) error {
	failed := f.counts().failed
	err := await(ctx, what, time.Millisecond, func() (bool, uint64, error) {
		now := f.counts()
		if now.failed > failed || ok(now) {
			return true, 0, f.err()
		}
		return false, now.events + now.opens, nil
	})
	if errors.Is(err, errStuck) {
		now := f.counts()
		err = fmt.Errorf("%w: %d clients open of %d, %d events so far; look at the logs and at /readyz of gateways and workers",
			err, now.open, now.dialled, now.events)
	}
	return err
}

// err tells of connections that ended by themselves.
func (f *fleet) err() error {
	if n := f.counts().failed; n > 0 {
		return fmt.Errorf("%d connections failed: %s", n, strings.Join(f.problems(), "; "))
	}
	return nil
}

// verdict is an error unless every event came once and in order.
func (f *fleet) verdict() error {
	c := f.counts()
	err := f.err()
	if c.holes+c.repeats+c.gaps > 0 {
		err = errors.Join(err, fmt.Errorf("%d events were missed, %d came twice or late, %d gaps were told: %s",
			c.holes, c.repeats, c.gaps, strings.Join(f.problems(), "; ")))
	}
	return err
}

func (f *fleet) counts() counts {
	var all counts
	for _, l := range f.loops {
		l.mu.Lock()
		all.add(l.counts)
		l.mu.Unlock()
	}
	return all
}

// events is counts().events without waiting for a lock.
func (f *fleet) events() uint64 {
	n := uint64(0)
	for _, l := range f.loops {
		n += l.seen.Load()
	}
	return n
}

func (f *fleet) problems() (all []string) {
	for _, l := range f.loops {
		l.mu.Lock()
		all = append(all, l.problems...)
		l.mu.Unlock()
	}
	return all
}

// take moves what the loops have measured of a latency since the last call into h.
func (f *fleet) take(h hist, of func(*latencies) hist) hist {
	for _, l := range f.loops {
		l.mu.Lock()
		h.take(of(&l.latencies))
		l.mu.Unlock()
	}
	return h
}

// cut ends all clients at once, as a network does.
func (f *fleet) cut() {
	for _, l := range f.loops {
		l.mu.Lock()
		for _, c := range l.clients {
			c.end()
		}
		l.mu.Unlock()
	}
}

// last is the position of each client.
func (f *fleet) last(clients []*client) []string {
	out := make([]string, len(clients))
	for i, c := range clients {
		c.loop.mu.Lock()
		out[i] = c.last
		c.loop.mu.Unlock()
	}
	return out
}
