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
func (f *floor) do(o order) (r floorReport, err error) {
	if err = json.NewEncoder(f.orders).Encode(o); err == nil {
		err = f.reports.Decode(&r)
	}
	if err != nil {
		err = fmt.Errorf("the floor has ended: %w", err)
	}
	return r, err
}

// clients connects n clients to the floor.
func (f *floor) clients(ctx context.Context, fl *fleet, n int, path string, want uint32) error {
	specs := make([]spec, n)
	for i := range specs {
		specs[i] = spec{gateway: f.addr, path: path, want: want}
	}
	if _, err := fl.connect(ctx, specs, 0); err != nil {
		return fmt.Errorf("the floor: %w", err)
	}
	return nil
}

// writeFloor measures what bare writes to n sockets cost, and how soon they are read. The window counts frames.
func writeFloor(ctx context.Context, b *bench, phase string, n int, o order) (*window, error) {
	f, err := startFloor(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	fl, err := newFleet(b.cfg.loops)
	if err != nil {
		return nil, err
	}
	defer fl.close()
	if err := f.clients(ctx, fl, n, "", 0); err != nil {
		return nil, err
	}
	warm := o
	warm.Seconds = min(0.3, o.Seconds)
	if _, err := f.do(warm); err != nil {
		return nil, err
	}
	m := &meter{b: b, fleet: fl, phase: phase, processes: []measured{{roleFloor, f.cmd.Process.Pid}}}
	w, err := m.measure(ctx, func() error {
		_, err := f.do(o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, errors.Join(fl.err(), ctx.Err())
}

// frameFloor is the cost of one frame that a bare loop writes, in CPU seconds for a million.
func frameFloor(ctx context.Context, b *bench, phase string, n int, o order) (perMillion float64, w *window, err error) {
	if w, err = writeFloor(ctx, b, phase, n, o); err != nil {
		return 0, nil, err
	}
	return w.cost(roleFloor), w, nil
}

// floorTime is how long a floor is measured; it is measured twice.
func (b *bench) floorTime() time.Duration { return max(b.cfg.time/2, 200*time.Millisecond) }
