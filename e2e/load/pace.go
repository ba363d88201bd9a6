package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"
)

// maxBurst bounds what is done at once after a delay, so that it is spread a little.
const maxBurst = 256

// paced calls do(from, n) for things 0 to total, perSecond of them in each second, by the clock: what is late is
// done at once. perSecond 0 is as fast as it goes. total 0 goes on for the duration, else the duration is ignored.
func paced(ctx context.Context, perSecond float64, total int, duration time.Duration, do func(from, n int) error) error {
	if total == 0 && perSecond > 0 {
		total = int(math.Round(perSecond * duration.Seconds()))
	}
	runtime.LockOSThread() // nap blocks a thread; better always the same
	defer runtime.UnlockOSThread()
	begin := time.Now()
	for done := 0; done < total; {
		due := total
		if perSecond > 0 {
			due = min(total, 1+int(time.Since(begin).Seconds()*perSecond))
		}
		if n := min(due-done, maxBurst); n > 0 {
			if err := do(done, n); err != nil {
				return err
			}
			done += n
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		next := begin.Add(time.Duration(float64(done) / perSecond * float64(time.Second)))
		nap(min(time.Until(next), 50*time.Millisecond))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long nothing may move before a wait is given up.
const patience = 20 * time.Second

var errStuck = errors.New("nothing moves")

// await looks every so often until it is done. It gives up when what look counts has not changed for as long as patience.
func await(ctx context.Context, what string, every time.Duration, look func() (done bool, moved uint64, err error)) error {
	limit, last := time.Now().Add(patience), uint64(0)
	for {
		done, moved, err := look()
		if err != nil || done {
			return err
		}
		if moved != last {
			limit, last = time.Now().Add(patience), moved
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%w for %v while waiting until %s", errStuck, patience, what)
		}
		nap(every)
	}
}
