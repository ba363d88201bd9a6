package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"
)

// floor is the running floor server.
type floor struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	reports *json.Decoder
	addr    netip.AddrPort
}

func startFloor(ctx context.Context) (*floor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &floor{cmd: exec.CommandContext(ctx, self)}
	f.cmd.Env = append(os.Environ(), floorVariable+"=1")
	f.cmd.Stderr = os.Stderr
	f.cmd.SysProcAttr = dieWithParent()
	if f.orders, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := f.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the floor: %w", err)
	}
	f.reports = json.NewDecoder(out)
	var r floorReport
	if err := f.reports.Decode(&r); err != nil {
		f.close()
		return nil, fmt.Errorf("the floor does not start: %w", err)
	}
	f.addr, err = netip.ParseAddrPort(r.Addr)
	return f, err
}

func (f *floor) close() {
	_ = f.orders.Close()
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait() // it was killed
}

// do gives an order and waits until it is done.
func (f *floor) do(o order) error {
	var r floorReport
	if err := errors.Join(json.NewEncoder(f.orders).Encode(o), f.reports.Decode(&r)); err != nil {
		return fmt.Errorf("the floor has ended: %w", err)
	}
	return nil
}

// onFloor runs work with a floor server, and a fleet that is to connect n clients to it.
func (b *bench) onFloor(ctx context.Context, n int, path string, want uint32, work func(s *floor, f *fleet, connect func() error) error) error {
	s, err := startFloor(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	f, err := newFleet(b.cfg.loops)
	if err != nil {
		return err
	}
	defer f.close()
	return work(s, f, func() error {
		specs := make([]spec, n)
		for i := range specs {
			specs[i] = spec{gateway: s.addr, path: path, want: want}
		}
		if _, err := f.connect(ctx, specs, 0); err != nil {
			return fmt.Errorf("the floor: %w", err)
		}
		return nil
	})
}

// writes orders frames to all sockets at a rate. A floor is measured twice, so each time for half as long.
func (b *bench) writes(rate float64) order {
	return order{Rate: rate, Batch: 1, Size: b.cfg.size, Seconds: b.floorTime().Seconds()}
}

func (b *bench) floorTime() time.Duration { return max(b.cfg.time/2, 200*time.Millisecond) }

// writeFloor measures what bare writes to n sockets cost, and how soon they are read. The window counts frames.
func (b *bench) writeFloor(ctx context.Context, phase string, n int, o order) (w *window, err error) {
	err = b.onFloor(ctx, n, "", 0, func(s *floor, f *fleet, connect func() error) error {
		warm := o
		warm.Seconds = min(0.3, o.Seconds)
		if err := connect(); err != nil {
			return err
		}
		if err := s.do(warm); err != nil {
			return err
		}
		m := &meter{bench: b, fleet: f, phase: phase, processes: []watched{{roleFloor, s.cmd.Process.Pid}}}
		if w, err = m.measure(ctx, func() error { return s.do(o) }); err != nil {
			return err
		}
		return errors.Join(f.err(), ctx.Err())
	})
	return w, err
}

// floorStorm connects n clients to the floor at once and says when the last one had what it wanted.
func (b *bench) floorStorm(ctx context.Context, n int, path string, want uint32) (took time.Duration, err error) {
	b.progress.enter("floor: " + count(n) + " connects")
	err = b.onFloor(ctx, n, path, want, func(_ *floor, f *fleet, connect func() error) error {
		begin := time.Now()
		if err := connect(); err != nil {
			return err
		}
		if want > 0 {
			err = f.until(ctx, "the floor's clients have their frames", func(c counts) bool { return c.whole >= uint64(n) })
		}
		took = time.Since(begin)
		return err
	})
	return took, err
}

// between measures a floor before and after work: it drifts with the machine.
func between[T any](floor func(when string) (T, error), work func() error) (both [2]T, err error) {
	if both[0], err = floor("before"); err != nil {
		return both, err
	}
	if err = work(); err != nil {
		return both, err
	}
	both[1], err = floor("after")
	return both, err
}

// each takes a number of both floors.
func each[T any](both [2]T, number func(T) float64) []float64 {
	return []float64{number(both[0]), number(both[1])}
}

// bareWrite is the cost of a frame in a window of the floor.
func bareWrite(w *window) float64 { return w.cost(roleFloor) }
