package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	sluice "sluice/shared/client"
)

var calls = scenario{
	name:  "calls",
	title: "200 users over two gateways call a function: 300 and 2,000 calls/s",
	about: "Each user makes one call after the other, each when it is due, by the Go client. The floor is the same function, asked " +
		"directly by as many connections as often, with as many bytes. A function does nothing but to answer. It, the clients and " +
		"the floor are in the generator's process. Latency is from when a call was due until its reply was there.",
	own: true,
	run: runCalls,
}

const (
	callUsers = 200
	callSlow  = 300 // a second, of all
	callFast  = 2000
	callReply = `{"reply":{"ok":true}}`
)

func runCalls(ctx context.Context, b *bench) (found findings, err error) {
	f, err := startCalled()
	if err != nil {
		return found, err
	}
	defer f.close()
	n, body := b.cfg.n(callUsers), appendData(nil, b.cfg.size, 1, 0)
	rates := []float64{float64(b.cfg.n(callSlow)), float64(b.cfg.n(callFast))}
	var called []*callers
	floors, err := between(func(when string) ([]*callers, error) {
		b.progress.enter("floor: the function, " + when)
		return callAt(rates, func(rate float64) (*callers, error) {
			return callTogether(ctx, n, rate, b.floorTime(), func(int) error { return f.ask(ctx, body) })
		})
	}, func() (err error) {
		called, err = b.callFunctions(ctx, f, n, rates, body)
		return err
	})
	if err != nil {
		return found, err
	}
	var curves []curve
	for i, c := range called {
		at := "at " + count(rates[i]) + "/s"
		direct := each(floors, func(f []*callers) float64 { return milliseconds(f[i].took.quantile(0.5)) })
		p50, p99 := latency("call to reply "+at, c.took)
		_, direct99 := latency("", floors[1][i].took)
		above := measured("p50 above asking directly "+at, milliseconds(c.took.quantile(0.5))-(direct[0]+direct[1])/2, "ms")
		found.add(
			measured("calls "+at, c.perSecond(), "/s").atLeast(0.95*rates[i]),
			p50.against("asked directly", direct...),
			above.atMost(3),
			p99.against("asked directly", direct99.Value),
		)
		curves = append(curves, distribution("call to reply "+at, c.took), distribution("asked directly "+at, floors[1][i].took))
	}
	found.plot(distributions("Latency of a call", curves...))
	return found, nil
}

// callAt measures calls at each rate.
func callAt(rates []float64, measure func(rate float64) (*callers, error)) (all []*callers, err error) {
	for _, rate := range rates {
		c, err := measure(rate)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// callFunctions measures calls by clients of an installation.
func (b *bench) callFunctions(ctx context.Context, f *called, n int, rates []float64, body []byte) ([]*callers, error) {
	r, err := b.rig(ctx, 2, b.cfg.size, "SLUICE_FUNCTIONS=call="+f.url, "SLUICE_FUNCTION_SECRET=whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		return nil, err
	}
	defer r.close()
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	all := make([]*sluice.Client, n)
	for i, s := range r.in.users("caller", n, spec{}) {
		all[i], err = sluice.New(sluice.Options{
			URL:     "http://" + s.gateway.String(),
			Token:   func(context.Context, bool) (string, error) { return s.token, nil },
			OnError: func(error) {}, // what a call comes to is told by the call
		})
		if err != nil {
			return nil, err
		}
		running.Go(func() { _ = all[i].Run(ctx) })
	}
	call := func(i int) error {
		_, err := all[i].Call(ctx, "load", json.RawMessage(body))
		return err
	}
	b.progress.enter("warming up")
	for i := range all { // the first ones also wait until gateways know that there is a function
		var last error
		err := await(ctx, "a call is taken", 100*time.Millisecond, func() (bool, uint64, error) {
			last = call(i)
			return last == nil, 0, r.in.alive()
		})
		if err != nil {
			return nil, errors.Join(err, last)
		}
	}
	b.progress.enter("calls")
	return callAt(rates, func(rate float64) (*callers, error) { return callTogether(ctx, n, rate, b.cfg.time, call) })
}

// callers is what calls took, together.
type callers struct {
	took   hist
	number int
	lasted time.Duration
}

func (c *callers) perSecond() float64 { return float64(c.number) / c.lasted.Seconds() }

// callTogether lets n callers call at a rate, of all, for a time. A caller whose call takes too long makes the next one late, and
// that counts as its latency.
func callTogether(ctx context.Context, n int, rate float64, d time.Duration, call func(i int) error) (*callers, error) {
	c := &callers{took: newHist()}
	var mu sync.Mutex
	var failed error
	var all sync.WaitGroup
	begin := time.Now()
	every := time.Duration(float64(n) / rate * float64(time.Second))
	for i := range n {
		all.Go(func() {
			for due := begin.Add(every * time.Duration(i) / time.Duration(n)); due.Sub(begin) < d && ctx.Err() == nil; due = due.Add(every) {
				time.Sleep(time.Until(due))
				err := call(i)
				mu.Lock()
				c.took.record(time.Since(due))
				c.number++
				failed = errors.Join(failed, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	c.lasted = time.Since(begin)
	return c, errors.Join(failed, ctx.Err())
}

// called is a function that does nothing.
type called struct {
	url    string
	server *http.Server
	served chan struct{}
	client *http.Client
}

func startCalled() (*called, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &called{url: "http://" + l.Addr().String() + "/", served: make(chan struct{})}
	f.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, callReply)
	})}
	f.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callUsers * 10}}
	go func() {
		defer close(f.served)
		_ = f.server.Serve(l)
	}()
	return f, nil
}

func (f *called) close() {
	f.client.CloseIdleConnections()
	_ = f.server.Close()
	<-f.served
}

// ask asks it directly.
func (f *called) ask(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := f.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	got, err := io.ReadAll(answer.Body)
	if err == nil && string(got) != callReply {
		err = fmt.Errorf("the function answered %q", got)
	}
	return err
}
