package inproc_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestImpatientCrowd: clients come back while Redis stands still, and give up and come
// again after a while, as browsers do. Soon after Redis goes on all of them are in.
func TestImpatientCrowd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	const n = 400
	const gives = 3 * time.Second
	life, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	var in atomic.Int64
	var wg sync.WaitGroup
	come := func(at string) {
		ws, _, err := (&websocket.Dialer{HandshakeTimeout: gives}).DialContext(life, at, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		_ = ws.SetReadDeadline(time.Now().Add(gives))
		for subscribed := 0; subscribed < 7; {
			_, b, err := ws.ReadMessage()
			if err != nil {
				return
			}
			if strings.Contains(string(b), `"type":"subscribed"`) {
				subscribed++
			}
		}
		in.Add(1)
		defer in.Add(-1)
		_ = ws.SetReadDeadline(time.Time{})
		defer context.AfterFunc(life, func() { _ = ws.Close() })()
		for err == nil {
			_, _, err = ws.ReadMessage()
		}
	}
	g.via.freeze()
	for i := range n {
		var last []string
		for k := range 5 {
			last = append(last, fmt.Sprintf("topic:t%d-%d=0", i%50, k))
		}
		at := "ws://" + g.addr + "/v1/ws?token=dev:u" + fmt.Sprint(i) + "&last_event_id=" + url.QueryEscape(strings.Join(last, ","))
		wg.Go(func() {
			for life.Err() == nil {
				come(at)
			}
		})
	}
	// Each of them has given up and come again.
	eventually(t, patience, "the crowd gives up", func() error {
		if gone := g.metric("sluice_gateway_closes_total"); gone < n {
			return fmt.Errorf("%v have gone", gone)
		}
		return nil
	})
	g.via.thaw()
	eventually(t, time.Minute, "everybody is in", func() error {
		if got := in.Load(); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
	stop()
	wg.Wait()
}

// TestGoneBeforeOpened: clients that are gone before it is their turn cost those nothing
// that come behind them, by the query and by the frame connect.
func TestGoneBeforeOpened(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"query", "frame"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway()
			r.worker()
			resume := map[string]string{}
			var names []string
			for i := range 20 {
				resume[fmt.Sprintf("topic:t%d", i)] = "0"
				names = append(names, fmt.Sprintf("topic:t%d=0", i))
			}
			old := join(t, g, "old")
			g.via.freeze() // so that none of them is opened in time
			const gone = 600
			for i := range gone {
				at := "ws://" + g.addr + "/v1/ws"
				if how == "query" {
					at += fmt.Sprintf("?token=dev:u%d&last_event_id=%s", i, url.QueryEscape(strings.Join(names, ",")))
				}
				ws, _, err := websocket.DefaultDialer.Dial(at, nil)
				if err != nil {
					t.Fatal(err)
				}
				if how == "frame" {
					_ = ws.WriteJSON(msg{"type": "connect", "token": fmt.Sprint("dev:u", i), "resume": resume})
				} else if tcp, ok := ws.NetConn().(*net.TCPConn); ok {
					_ = tcp.SetLinger(0)
				}
				_ = ws.Close()
			}
			// All of them are gone while Redis still stands: nobody waits for it on their behalf.
			eventually(t, patience, "they are gone", func() error {
				if left := g.metric("sluice_gateway_connections"); left != 1 {
					return fmt.Errorf("%v connections", left)
				}
				return nil
			})
			old.send(msg{"type": "ping"})
			old.wait("pong", func(f frame) bool { return f.Type == "pong" })
			g.via.thaw()
			join(t, g, "bob")
		})
	}
}
