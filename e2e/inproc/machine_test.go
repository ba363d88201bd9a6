package inproc_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// late is by how much timers of this process have been late, in all, in nanoseconds.
var late atomic.Int64

// taken is the time of processors that others had, this process and its children left
// out, divided by the number of processors, in nanoseconds. 0 where there is no /proc.
var taken atomic.Int64

// share is the part of the machine that others left in the last seconds, in thousandths.
var share atomic.Int64

// watchMachine keeps late, taken and share up to date, for as long as the process lives.
func watchMachine() {
	const every, samples, seconds = 10 * time.Millisecond, 10, 100
	tick := time.NewTicker(every)
	last := time.Now()
	second, before := time.Now(), int64(0)
	share.Store(1000)
	for n := 0; ; n++ {
		<-tick.C
		came := time.Now() // when it was due does not count
		if d := came.Sub(last) - every; d > every/2 {
			late.Add(int64(d))
		}
		last = came
		if n%samples == 0 {
			if others, ok := takenByOthers(); ok && int64(others) > taken.Load() {
				taken.Store(int64(others))
			}
		}
		if n%seconds == seconds-1 {
			if before > 0 {
				now := 1000 - 1000*(taken.Load()-before)/int64(came.Sub(second))
				share.Store((share.Load() + max(0, now)) / 2)
			}
			second, before = came, taken.Load()
		}
	}
}

// takenByOthers is what taken says, since the machine started.
func takenByOthers() (time.Duration, bool) {
	const tick = time.Second / 100 // USER_HZ, in which /proc counts
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	// cpu user nice system idle iowait irq softirq steal ...
	busy := sumTicks(line, 1, 2, 3, 6, 7, 8)
	children, _ := filepath.Glob("/proc/self/task/*/children")
	for _, path := range children {
		list, _ := os.ReadFile(path)
		for _, pid := range strings.Fields(string(list)) {
			stat, _ := os.ReadFile("/proc/" + pid + "/stat")
			// The name, in parentheses, may hold anything; user and system time are the 12th and 13th after it.
			busy -= sumTicks(stat[bytes.LastIndexByte(stat, ')')+1:], 11, 12)
		}
	}
	others := time.Duration(busy) * tick
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} { // the children that have ended
		var own syscall.Rusage
		if err := syscall.Getrusage(who, &own); err != nil {
			return 0, false
		}
		others -= time.Duration(own.Utime.Nano() + own.Stime.Nano())
	}
	return others / time.Duration(runtime.NumCPU()), true
}

// sumTicks adds fields of a line.
func sumTicks(line []byte, at ...int) (sum int64) {
	fields := strings.Fields(string(line))
	for _, i := range at {
		if i < len(fields) {
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			sum += n
		}
	}
	return sum
}

// stopwatch counts the time that the machine gives to this process and its children: a
// promise of three seconds cannot be held, nor checked, with a quarter of a processor,
// nor by a process that was not let run for four. On a machine that does nothing else it
// is the usual time.
type stopwatch struct {
	begin       time.Time
	late, taken int64
}

func startWatch() stopwatch { return stopwatch{time.Now(), late.Load(), taken.Load()} }

func (w stopwatch) elapsed() time.Duration {
	return time.Since(w.begin) - time.Duration(max(late.Load()-w.late, taken.Load()-w.taken))
}

// deadline is a limit in that time.
type deadline struct {
	stopwatch
	limit time.Duration
}

func within(limit time.Duration) deadline { return deadline{startWatch(), limit} }

func (d deadline) left() time.Duration { return d.limit - d.elapsed() }

func (d deadline) String() string {
	return fmt.Sprintf("%v (%v by the clock)", d.limit, time.Since(d.begin).Round(time.Millisecond))
}

// atOnce is how many tests run at once where the machine does nothing else: most of them
// wait for leases and heartbeats, so that can be more than there are processors.
const atOnce = 8

// atLeast of them run at once on any machine.
const atLeast = 3

// rigs are the installations that run.
var rigs struct {
	sync.Mutex
	running int
}

// takeTurn waits until the machine has room for one more installation: with half
// of it half of them run at once, or leases would end because nobody is let run.
func takeTurn(t testing.TB) {
	t.Helper()
	const longest = 2 * time.Minute // a test may have several
	enter := func(last bool) bool {
		rigs.Lock()
		defer rigs.Unlock()
		if !last && int64(rigs.running)*1000 >= max(atLeast*1000, atOnce*share.Load()) {
			return false
		}
		rigs.running++
		return true
	}
	for end := time.Now().Add(longest); !enter(time.Now().After(end)); {
		time.Sleep(50 * time.Millisecond)
	}
	t.Cleanup(func() {
		rigs.Lock()
		rigs.running--
		rigs.Unlock()
	})
}

// await receives from a channel, also its end; false when that is not within the limit.
func await[T any](ch <-chan T, limit time.Duration) (v T, ok bool) {
	d := within(limit)
	for left := d.left(); left > 0; left = d.left() {
		select {
		case v = <-ch:
			return v, true
		case <-time.After(left):
		}
	}
	return v, false
}

// eventually waits until check returns nil.
func eventually(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	within(limit).eventually(t, what, check)
}

func (d deadline) eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	for {
		err := check()
		if err == nil {
			return
		}
		if d.left() <= 0 {
			t.Fatalf("not within %v: %s: %v", d, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestHelperDeadline: what others take of the machine is not what this process takes.
func TestHelperDeadline(t *testing.T) {
	before, ok := takenByOthers()
	if !ok {
		t.Skip("this system does not say what processes take")
	}
	begin, used := time.Now(), cpuTime()
	var busy sync.WaitGroup
	for range runtime.NumCPU() {
		busy.Go(func() {
			for cpuTime()-used < time.Second {
			}
		})
	}
	busy.Wait()
	after, _ := takenByOthers()
	const slack = 100 * time.Millisecond // of the kernel's ticks
	all, own := time.Since(begin), (cpuTime()-used)/time.Duration(runtime.NumCPU())
	if others := after - before; others < -slack || others > all-own+slack {
		t.Errorf("others took %v of %v, this process %v", others, all, own)
	}
}

func cpuTime() time.Duration {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		panic(fmt.Sprint("getrusage: ", err))
	}
	return time.Duration(own.Utime.Nano() + own.Stime.Nano())
}
