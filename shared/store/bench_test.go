package store_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

const (
	benchUsers    = 5000
	benchServers  = 2
	benchPayload  = 256  // bytes of data
	benchPrefill  = 8192 // events that wait in the streams at a time
	benchLeaseTTL = time.Hour
)

// BenchmarkStep is the worker's two round trips for a batch, on a real Redis: append
// and route, then publish, acknowledge and read. Unicast to 5,000 users on two
// gateways that listen, 256 bytes of data. What producers and trimming cost is left out,
// of the time as well as of Redis's CPU.
func BenchmarkStep(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) { newBench(b, batch).run(b) })
	}
}

type bench struct {
	s        *store.Store
	client   *redis.Client
	lane     *store.Lane
	read     store.Read
	batch    int
	users    [][]string // by partition
	prev     map[string]wire.ID
	payload  string
	produced int
	acked    map[int]wire.ID
}

func newBench(b *testing.B, batch int) *bench {
	server := storetest.Redis(b)
	s := storetest.Open(b, server.URL(), nil)
	partitions := min(batch, s.Config().Partitions)
	x := &bench{
		s: s, client: server.Client(), batch: batch,
		users: make([][]string, partitions), prev: make(map[string]wire.ID),
		payload: fmt.Sprintf("%0*d", benchPayload, 1), acked: make(map[int]wire.ID),
	}
	ctx := context.Background()
	for i := range benchUsers {
		user := "user:u" + strconv.Itoa(i)
		if p := s.Partition(user); p < partitions {
			x.users[p] = append(x.users[p], user)
		}
		server := "g" + strconv.Itoa(i%benchServers)
		if _, err := s.Register(ctx, server, s.NowMs()+time.Hour.Milliseconds(), []store.Session{{Target: user, Field: "c"}}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range benchServers {
		x.listen(b, "g"+strconv.Itoa(i))
	}
	x.read = store.Read{Generation: "t", Consumer: "w", Count: batch / partitions, Block: 100 * time.Millisecond}
	for p := range partitions {
		x.read.Partitions = append(x.read.Partitions, p)
	}
	terms, err := s.TakeOver(ctx, "w", "t", benchLeaseTTL, x.read.Partitions)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range terms {
		x.read.Epochs = append(x.read.Epochs, r.Epoch)
	}
	if x.lane, err = s.NewLane(false); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = x.lane.Close() })
	return x
}

// listen is a gateway that hears its channel.
func (x *bench) listen(b *testing.B, server string) {
	sub := x.s.Subscribe(server)
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

func (x *bench) run(b *testing.B) {
	var cpu, excluded time.Duration
	var out []store.Outgoing
	var acks []store.Ack
	var entries []store.Entry
	ctx := context.Background()
	events, waiting := 0, 0
	b.ReportAllocs()
	begin := x.cpu(b)
	b.ResetTimer()
	for range b.N {
		if waiting < x.batch {
			b.StopTimer()
			before := x.cpu(b)
			waiting += x.produce(b)
			excluded += x.cpu(b) - before
			b.StartTimer()
		}
		var err error
		if entries, err = x.lane.Commit(ctx, out, acks, x.read, entries[:0]); err != nil {
			b.Fatal(err)
		}
		if len(entries) != x.batch {
			b.Fatalf("read %d entries, want %d", len(entries), x.batch)
		}
		waiting -= len(entries)
		out, acks = x.step(b, entries)
		events += len(entries)
	}
	b.StopTimer()
	cpu = x.cpu(b) - begin - excluded
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(cpu.Microseconds())/float64(events), "redis-µs/event")
}

// step appends and routes a batch, and says what is to be published and acknowledged.
func (x *bench) step(b *testing.B, entries []store.Entry) ([]store.Outgoing, []store.Ack) {
	appends := make([]*store.Append, len(entries))
	routes := make([]*store.Route, len(entries))
	for i, e := range entries {
		event := &wire.Event{To: e.Fields["to"].(string), ID: e.ID, Data: e.Fields["data"].(string), Kind: wire.Text}
		event.Prev, x.prev[event.To] = x.prev[event.To], e.ID
		appends[i] = &store.Append{Partition: e.Partition, Event: event, Touch: event.Prev.IsZero()}
		routes[i] = &store.Route{Partition: e.Partition, Target: event.To}
	}
	if err := x.lane.AppendAndRoute(context.Background(), appends, routes); err != nil {
		b.Fatal(err)
	}
	type address struct {
		partition int
		server    string
	}
	messages := make(map[address][]byte)
	acks := make([]store.Ack, 0, len(x.read.Partitions))
	for i, e := range entries {
		if len(routes[i].Servers) != 1 || appends[i].Err != nil || appends[i].Repeat {
			b.Fatalf("route %+v, append %+v", routes[i], appends[i])
		}
		to := address{e.Partition, routes[i].Servers[0]}
		messages[to] = append(messages[to], x.payload...)
		if len(acks) == 0 || acks[len(acks)-1].Partition != e.Partition {
			acks = append(acks, store.Ack{Partition: e.Partition})
		}
		a := &acks[len(acks)-1]
		a.IDs, a.Last = append(a.IDs, e.ID.String()), e.ID
		x.acked[e.Partition] = e.ID
	}
	out := make([]store.Outgoing, 0, len(messages))
	for to, payload := range messages {
		out = append(out, store.Outgoing{Server: to.server, Payload: payload})
	}
	return out, acks
}

// produce removes what is acknowledged and adds events, as many to each partition.
func (x *bench) produce(b *testing.B) int {
	ctx := context.Background()
	if err := x.s.Trim(ctx, x.acked); err != nil {
		b.Fatal(err)
	}
	clear(x.acked)
	var pubs []store.Publication
	for range benchPrefill / len(x.users) {
		for _, users := range x.users {
			user := users[x.produced%len(users)]
			pubs = append(pubs, store.Publication{To: user, Fields: []string{"to", user, "data", x.payload}})
		}
		x.produced++
	}
	for _, err := range x.s.Publish(ctx, pubs) {
		if err != nil {
			b.Fatal(err)
		}
	}
	return len(pubs)
}

// cpu is what Redis has used of its CPU so far.
func (x *bench) cpu(b *testing.B) time.Duration {
	info, err := x.client.InfoMap(context.Background(), "cpu").Result()
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
	return time.Duration(sum * float64(time.Second))
}
