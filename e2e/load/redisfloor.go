package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/shared/wire"
)

// redisFloor measures what Redis alone takes for events that are kept and told: for each one XADD to an ingress, XADD
// to a history of its target, and PUBLISH to a subscriber, sent together when the event is due. The window's latency
// is from the write to the subscriber.
func (b *bench) redisFloor(ctx context.Context, phase string, rate float64) (w *window, err error) {
	in := &installation{cfg: b.cfg, prefix: "floor:", tags: wire.Tags(16)}
	defer func() { in.close() }()
	if len(b.cfg.gateways) > 0 {
		in.options, in.prefix = b.cfg.redis, b.cfg.prefix+"load-floor-"+b.cfg.id+":"
	} else {
		if in.dir, err = tempDir(); err != nil {
			return nil, err
		}
		if err := in.startRedis(ctx); err != nil {
			return nil, err
		}
	}
	in.connect()
	sub, err := subscribe(ctx, in, in.prefix+"channel")
	if err != nil {
		return nil, err
	}
	defer sub.close()
	p, err := in.producer(ctx, viaPartition, b.cfg.size)
	if err != nil {
		return nil, err
	}
	defer p.close()
	targets := make([]*target, b.cfg.n(unicastUsers))
	for i := range targets {
		targets[i] = &target{name: "user:" + in.name("floor", i)}
	}
	defer in.forget(ctx, targets)
	channel := string(appendBulk(appendBulk([]byte("*3\r\n"), "PUBLISH"), in.prefix+"channel"))
	m := &meter{bench: b, in: in, phase: phase}
	w, err = m.measure(ctx, func() error {
		err := paced(ctx, rate, 0, b.floorTime(), func(from, n int) error {
			for i := from; i < from+n; i++ {
				t := targets[i%len(targets)]
				p.add(t)
				p.addTo(in.prefix+"history:"+t.name, t)
				p.buf = append(p.buf, channel...)
				p.buf = appendBulk(p.buf, string(appendData(nil, b.cfg.size, t.sent, clock())))
				p.asked++
			}
			return p.flush()
		})
		return errors.Join(err, p.settled(ctx))
	})
	if err != nil {
		return nil, err
	}
	w.events = uint64(p.asked / 3)
	err = await(ctx, "a subscriber has all messages", time.Millisecond, func() (bool, uint64, error) {
		got := sub.got.Load()
		return got == w.events, got, nil
	})
	sub.close()
	w.latency = sub.latency
	return w, err
}

// forget removes the floor's keys from a Redis that stays.
func (in *installation) forget(ctx context.Context, targets []*target) {
	if len(in.processes) > 0 {
		return
	}
	keys := in.events(viaPartition)
	for _, t := range targets {
		keys = append(keys, in.prefix+"history:"+t.name)
	}
	_ = in.rdb.Unlink(context.WithoutCancel(ctx), keys...).Err() // small, and seen by whoever looks
}

// subscriber hears a channel and measures how old its messages are.
type subscriber struct {
	conn    net.Conn
	got     atomic.Uint64
	latency hist // whole after close
	reading sync.WaitGroup
}

func subscribe(ctx context.Context, in *installation, channel string) (*subscriber, error) {
	conn, r, err := dialRedis(ctx, in.options)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(appendCommand(nil, "SUBSCRIBE", channel)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("cannot subscribe: %w", err)
	}
	s := &subscriber{conn: conn, latency: newHist()}
	confirmed := make(chan struct{})
	s.reading.Go(func() {
		if _, err := readMessage(r); err != nil { // of the subscription itself
			close(confirmed)
			return
		}
		close(confirmed)
		for {
			message, err := readMessage(r)
			if err != nil {
				return
			}
			if _, sent, ok := parseData(append(message, '}')); ok { // as at the end of a frame
				s.latency.record(nanoseconds(clock() - sent))
				s.got.Add(1)
			}
		}
	})
	<-confirmed
	return s, nil
}

func (s *subscriber) close() {
	_ = s.conn.Close()
	s.reading.Wait()
}

// readMessage reads a push of three elements and returns the last.
func readMessage(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil || line[0] != '*' {
		return nil, errors.Join(err, errors.New("no message"))
	}
	var last []byte
	for range 3 {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if line[0] == ':' {
			continue
		}
		n, err := strconv.Atoi(string(line[1 : len(line)-2]))
		if err != nil || line[0] != '$' || n < 0 {
			return nil, errors.New("no message")
		}
		last = make([]byte, n, n+1)
		if _, err := io.ReadFull(r, last); err != nil {
			return nil, err
		}
		if _, err := r.Discard(2); err != nil {
			return nil, err
		}
	}
	return last, nil
}
