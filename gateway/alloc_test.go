package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/auth"
	"sluice/gateway/history"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// deliveries is a gateway without Redis, and sockets that all subscribe to a topic.
type deliveries struct {
	gw       *Gateway
	received atomic.Int64 // bytes, by all clients
	live     atomic.Int64 // clients that subscribe
	sockets  int
	seq      uint64
	last     wire.ID
	frame    []byte
}

const deliveriesTopic = "topic:room"

func newDeliveries(t testing.TB, sockets int) *deliveries {
	t.Helper()
	st := storetest.Unasked(t, nil)
	d := &deliveries{sockets: sockets}
	var err error
	d.gw, err = New(Options{
		Config: Config{
			Store: st.Config(), Auth: auth.Config{Mode: "dev"}, SendQueueBytes: 64 << 10, PingInterval: time.Hour, MaxTargets: 10,
		},
		Store: st, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.gw.ctx = ctx
	d.gw.flow = live.New(live.Options{
		Partitions: 16, Partition: st.Partition, History: nothing{}, Sessions: nothing{}, NowMs: st.NowMs, TTLMs: st.HistoryTTLMs(),
		HeardMs: st.NowMs, TermBegan: func(int) {}, Lost: func(int) {}, Metrics: &d.gw.metrics.live, Log: d.gw.log,
	})
	var parts sync.WaitGroup
	parts.Go(func() { _ = d.gw.sockets.Run(ctx) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sock, err := d.gw.sockets.Upgrade(w, r, "")
		if err != nil {
			t.Error(err)
			return
		}
		c := newConn(d.gw, sock, sock)
		c.start()
		if err := c.Subscribe(ctx, []live.Request{{Target: deliveriesTopic}}, func([]live.Refusal) {}); err != nil {
			t.Error(err)
		}
		sock.Start()
		d.live.Add(1)
	}))
	var clients sync.WaitGroup
	var conns []net.Conn
	t.Cleanup(func() {
		for _, nc := range conns {
			_ = nc.Close()
		}
		clients.Wait()
		server.Close()
		cancel()
		parts.Wait()
		d.gw.sockets.Wait()
	})
	for range sockets {
		nc, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, nc)
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		br := bufio.NewReader(nc)
		answer, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal("handshake:", err)
		}
		_ = answer.Body.Close() // there is none
		if answer.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal("handshake:", answer.Status)
		}
		clients.Go(func() {
			b := make([]byte, 16<<10)
			for {
				n, err := br.Read(b)
				d.received.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
	}
	for end := time.Now().Add(10 * time.Second); d.live.Load() < int64(sockets); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d subscribe", d.live.Load(), sockets)
		}
	}
	// The answer to the subscription is not counted.
	answer := int64(sockets * len(wire.Frame(wire.Subscribed{To: deliveriesTopic, Recovered: true})))
	for end := time.Now().Add(10 * time.Second); d.received.Load() < answer; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d bytes came", d.received.Load(), answer)
		}
	}
	d.received.Add(-answer)
	d.frame = wire.AppendText(nil, fmt.Appendf(nil, `{"type":"event","data":"%0256d"}`, 0))
	return d
}

// nothing is a history without events, and sessions that need no writing.
type nothing struct{}

func (nothing) Read(context.Context, string, ...*history.Reading) error { return nil }
func (nothing) Query(context.Context, ...*store.Query) error            { return nil }
func (nothing) Want(string, string)                                     {}
func (nothing) Drop(string, string)                                     {}
func (nothing) Wait(context.Context, string, string) error              { return nil }

// message is the next one of a worker, with so many events.
func (d *deliveries) message(events int) string {
	d.seq++
	p := d.gw.store.Partition(deliveriesTopic)
	b := wire.AppendHead(nil, wire.Head{Partition: p, Epoch: 1, Seq: d.seq})
	for range events {
		id := wire.ID{Ms: d.last.Ms + 1}
		b = wire.AppendRecord(b, &wire.Record{Kind: wire.RecEvent, To: deliveriesTopic, ID: id, Prev: d.last, Frame: d.frame})
		d.last = id
	}
	return string(b)
}

// TestDeliveryAllocatesNothing: from the message on the channel to the bytes in the
// sockets, to any number of them.
func TestDeliveryAllocatesNothing(t *testing.T) {
	const runs, events = 50, 3 // of larger messages each event is copied once
	for _, sockets := range []int{1, 30, 300} {
		t.Run(fmt.Sprint(sockets), func(t *testing.T) {
			d := newDeliveries(t, sockets)
			messages := make([]string, runs+2)
			for i := range messages {
				messages[i] = d.message(events)
			}
			want := int64(0)
			deliver := func() {
				want += int64(sockets * events * len(d.frame))
				payload := messages[0]
				messages = messages[1:]
				d.gw.sockets.Together(func() { d.gw.dispatch(payload) })
				for d.received.Load() < want {
					runtime.Gosched()
				}
			}
			deliver()
			if n := testing.AllocsPerRun(runs, deliver); n >= 1 {
				t.Errorf("%v allocations for %d deliveries", n, events*sockets)
			}
			if got := d.received.Load(); got != want {
				t.Errorf("%d bytes came, want %d", got, want)
			}
		})
	}
}

// BenchmarkDelivery is the same way, for the time that a delivery takes.
func BenchmarkDelivery(b *testing.B) {
	for _, sockets := range []int{1, 30, 500} {
		b.Run(fmt.Sprint(sockets), func(b *testing.B) {
			d := newDeliveries(b, sockets)
			b.ReportAllocs()
			want := int64(0)
			for b.Loop() {
				want += int64(sockets * len(d.frame))
				payload := d.message(1)
				d.gw.sockets.Together(func() { d.gw.dispatch(payload) })
				for d.received.Load() < want {
					runtime.Gosched()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sockets), "ns/delivery")
		})
	}
}
