package main

import (
	"context"
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
