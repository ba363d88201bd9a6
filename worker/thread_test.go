package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// threadsEnv makes the test's program a worker: how its lanes wait, by benchWays.
const threadsEnv = "SLUICE_BENCH_WORKER"

const (
	pollerWay = "poller"
	threadWay = "thread"
)

func TestMain(m *testing.M) {
	if way := os.Getenv(threadsEnv); way != "" {
		if err := benchWorker(way == threadWay, os.Getenv("SLUICE_BENCH_REDIS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// benchWorker is a worker process until SIGTERM.
func benchWorker(ownThreads bool, url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	st, err := store.Open(storetest.Config(url))
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	if err := st.Ready(ctx); err != nil {
		return err
	}
	cfg := Config{Store: st.Config(), Acks: AckConfig{CursorTTL: time.Hour}, Slow: SlowConfig{Attempts: 12, Timeout: 45 * time.Second}}
	return New(Options{Store: st, Config: cfg, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), OwnThreads: ownThreads}).Run(ctx)
}

// BenchmarkOwnThread compares worker processes whose lanes hold a thread while they wait
// with those whose lanes wait in Go's poller: CPU time per event, in pairs, one after the
// other over the same Redis. An iteration is one pair; -benchtime 15x is enough on a quiet machine. Each event
// is an XADD of its own, for one of 5,000 users on two gateways.
func BenchmarkOwnThread(b *testing.B) {
	for _, rate := range []int{2000, 5000, 20_000} {
		b.Run(strconv.Itoa(rate), func(b *testing.B) {
			server := storetest.Redis(b)
			st := storetest.Open(b, server.URL(), nil)
			for i := range benchUsers {
				session := store.Session{Target: wire.UserTarget("u" + strconv.Itoa(i)), Field: "c"}
				if _, err := st.Register(b.Context(), "g"+strconv.Itoa(i%2), st.NowMs()+time.Hour.Milliseconds(), []store.Session{session}); err != nil {
					b.Fatal(err)
				}
			}
			hear(b, st, "g0")
			hear(b, st, "g1")
			var ratios []float64
			costs := map[string][]float64{}
			for i := range b.N {
				ways := []string{pollerWay, threadWay}
				if i%2 == 1 {
					slices.Reverse(ways)
				}
				for _, way := range ways {
					costs[way] = append(costs[way], benchProcess(b, way, server, st, rate))
				}
				ratios = append(ratios, costs[threadWay][i]/costs[pollerWay][i])
			}
			slices.Sort(ratios)
			b.Logf("%d pairs, CPU of thread/poller: %.2f", b.N, ratios)
			b.ReportMetric(middle(ratios), "thread/poller")
			b.ReportMetric(middle(costs[pollerWay]), "poller-µs/event")
			b.ReportMetric(middle(costs[threadWay]), "thread-µs/event")
		})
	}
}

func middle(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

const benchWindow = 2 * time.Second

// benchProcess runs a worker process and returns its CPU time per event, in µs.
func benchProcess(b *testing.B, way string, server *storetest.Server, st *store.Store, rate int) float64 {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), threadsEnv+"="+way, "SLUICE_BENCH_REDIS="+server.URL())
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			b.Errorf("the worker ended: %v", err)
		}
	}()
	storetest.Eventually(b, func() error {
		pending, err := st.Backlogs(b.Context())
		if err != nil || server.Client().Exists(b.Context(), storetest.Key(15, "lease"), storetest.Key(0, "lease")).Val() != 2 {
			return fmt.Errorf("it has not taken the partitions: %v, %w", pending, err)
		}
		return nil
	})
	benchEvents(b, server, rate, benchWindow/4)
	before := processCPU(b, cmd.Process.Pid)
	n := benchEvents(b, server, rate, benchWindow)
	return float64((processCPU(b, cmd.Process.Pid) - before).Microseconds()) / float64(n)
}

// benchEvents adds events at a rate for a while, each when it is due.
func benchEvents(b *testing.B, server *storetest.Server, rate int, during time.Duration) (n int) {
	const producers = 4
	data := fmt.Sprintf(`{"text":"%0*d"}`, 256-11, 0)
	begin := time.Now()
	var done sync.WaitGroup
	each := int(during.Seconds()*float64(rate)) / producers
	for p := range producers {
		done.Go(func() {
			for i := range each {
				time.Sleep(time.Until(begin.Add(time.Duration(i) * producers * time.Second / time.Duration(rate))))
				user := wire.UserTarget("u" + strconv.Itoa((i*producers+p)%benchUsers))
				stream := storetest.Key(wire.Partition(user, 16), "events")
				if err := server.Client().Do(context.Background(), "XADD", stream, "MAXLEN", "~", "100000", "*", "to", user, "data", data).Err(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	return each * producers
}

// processCPU is the CPU time that a process has used, in steps of 10 ms.
func processCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("CPU times of a process are read from /proc: ", err)
	}
	var state string
	var skip, user, system int64
	_, err = fmt.Sscan(string(stat[slices.Index(stat, ')')+1:]), &state, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &user, &system)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
