package main

import (
	"bytes"
	"maps"
	"testing"

	"github.com/google/pprof/profile"
)

// TestShares: a sample belongs to the innermost function that is a stage's.
func TestShares(t *testing.T) {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1,
	}
	sample := func(took int64, stack ...string) { // innermost first
		s := &profile.Sample{Value: []int64{1, took}}
		for _, name := range stack {
			f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: name}
			l := &profile.Location{ID: f.ID, Line: []profile.Line{{Function: f}}}
			p.Function, p.Location, s.Location = append(p.Function, f), append(p.Location, l), append(s.Location, l)
		}
		p.Sample = append(p.Sample, s)
	}
	const receive = "sluice/gateway.(*Gateway).receive"
	sample(50, "internal/runtime/syscall/linux.Syscall6", "sluice/gateway/socket.(*Conn).write", receive)
	sample(20, "runtime.mapaccess2", receive)
	sample(10, "runtime.scanObject", "runtime.gcAssistAlloc1", "sluice/gateway/socket.(*Conn).write", receive)
	sample(20, "something.else")
	var encoded bytes.Buffer
	if err := p.Write(&encoded); err != nil {
		t.Fatal(err)
	}
	got, err := shares(roleGateway, encoded.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"writing to sockets": 0.5, "finding the subscribers": 0.2, "collecting garbage": 0.1, "other": 0.2}
	if !maps.Equal(got, want) {
		t.Errorf("shares are %v, want %v", got, want)
	}
	w := window{events: 1_000_000, cpu: map[string]float64{roleGateway: 10}, shares: map[string]map[string]float64{roleGateway: got}}
	costs := w.stageCosts(roleGateway, "direct")
	if len(costs) != 4 || costs[0].Name != roleGateway+" direct: writing to sockets" || costs[0].Value != 5 {
		t.Errorf("costs are %+v", costs)
	}
	if _, err := shares(roleGateway, []byte("no profile")); err == nil {
		t.Error("it read what is no profile")
	}
}
