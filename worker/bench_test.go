package worker

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

const (
	benchUsers = 5000
	benchReady = 8192 // events that wait in the streams at a time
)

// BenchmarkStep is the whole step of a worker on a real Redis: read, validate, append
// and route, render, publish, acknowledge. Unicast to 5,000 users on two gateways
// that listen, 256 bytes of data. What producers and trimming cost is left out.
func BenchmarkStep(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) { benchStep(b, batch) })
	}
}

func benchStep(b *testing.B, batch int) {
	server := storetest.Redis(b)
	st := storetest.Open(b, server.URL(), nil)
	ctx := context.Background()
	l := newStepLane(b, st)
	partitions := min(batch, len(l.candidates))
	users := make([][]string, partitions)
	for i := range benchUsers {
		user := wire.UserTarget("u" + strconv.Itoa(i))
		if p := st.Partition(user); p < partitions {
			users[p] = append(users[p], user)
		}
		gateway := "g" + strconv.Itoa(i%2)
		if _, err := st.Register(ctx, gateway, st.NowMs()+time.Hour.Milliseconds(), []store.Session{{Target: user, Field: "c"}}); err != nil {
			b.Fatal(err)
		}
	}
	for _, gateway := range []string{"g0", "g1"} {
		hear(b, st, gateway)
	}
	l.w.share.reserve(int32(partitions))
	if err := l.take(ctx, l.candidates[:partitions]); err != nil {
		b.Fatal(err)
	}
	read := store.Read{Generation: l.generation, Consumer: l.w.id, Partitions: l.owned, Epochs: l.rights(), Count: batch / partitions, Block: time.Second}

	var err error
	var cpu, cpuExcluded float64
	var entries []store.Entry
	var out []store.Outgoing
	var acks []store.Ack
	events, waiting, produced := 0, 0, 0
	data := fmt.Sprintf(`{"text":"%0*d"}`, 256-11, 0)
	b.ReportAllocs()
	cpu = redisCPU(b, server)
	b.ResetTimer()
	for range b.N {
		if waiting < batch {
			b.StopTimer()
			before := redisCPU(b, server)
			if err := st.Trim(ctx, l.acked); err != nil {
				b.Fatal(err)
			}
			var pubs []store.Publication
			for range benchReady / partitions {
				for _, of := range users {
					user := of[produced%len(of)]
					pubs = append(pubs, store.Publication{To: user, Fields: []string{"to", user, "data", data}})
				}
				produced++
			}
			for _, err := range st.Publish(ctx, pubs) {
				if err != nil {
					b.Fatal(err)
				}
			}
			waiting += len(pubs)
			if _, err := st.Renew(ctx, l.w.id, leaseTTL, l.owned); err != nil {
				b.Fatal(err)
			}
			cpuExcluded += redisCPU(b, server) - before
			b.StartTimer()
		}
		if entries, err = l.conn.Commit(ctx, out, acks, read, entries[:0]); err != nil {
			b.Fatal(err)
		}
		if len(entries) != batch {
			b.Fatalf("read %d entries, want %d", len(entries), batch)
		}
		waiting -= batch
		if err := l.done(ctx, acks); err != nil {
			b.Fatal(err)
		}
		if out, _, err = l.batch.process(ctx, l.conn, entries); err != nil {
			b.Fatal(err)
		}
		acks = ackAll(entries)
		events += batch
	}
	b.StopTimer()
	cpu = redisCPU(b, server) - cpu - cpuExcluded
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(cpu*1e6/float64(events), "redis-µs/event")
}

// hear is a gateway that listens to its channel.
func hear(b *testing.B, st *store.Store, gateway string) {
	sub := st.Subscribe(gateway)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, _, err := sub.Receive(context.Background()); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() {
		_ = sub.Close()
		<-done
	})
}

// redisCPU is what Redis has used so far, in seconds.
func redisCPU(b *testing.B, server *storetest.Server) float64 {
	info, err := server.Client().InfoMap(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	var sum float64
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		seconds, err := strconv.ParseFloat(info["CPU"][name], 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += seconds
	}
	return sum
}
