package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// sampleResult has a bit of everything, and names that would break a page.
func sampleResult() *result {
	const nasty = `<script>alert("x")</script> & 'co'`
	s := &section{Name: "fanout", Title: "1,000 subscribers", About: nasty, judged: true, Error: nasty}
	s.figure("deliveries "+nasty, 99_876, "/s").atLeast(100_000)
	s.figure("gateways", 7, "CPU s/M").against("bare write", 4, 6).ratioAtMost(1.4).note(nasty)
	s.figure("p99", 1.5, "ms").atMost(2.5).beside("write", 0)
	w := &window{phase: nasty, took: time.Second, events: 300}
	for i := range 3 {
		for range 1000 {
			w.latency.record(time.Duration(i) * time.Millisecond)
		}
		w.samples = append(w.samples, sample{at: time.Duration(i) * time.Second, took: time.Second, events: 100,
			p50: time.Millisecond, p99: 2 * time.Millisecond, max: 3 * time.Millisecond, cpu: map[string]float64{roleGateway: 0.5}})
	}
	s.chartWindow(w)
	s.chartDistribution("Latency", curveOf(nasty, &w.latency), curveOf("nothing", new(hist)))
	s.Charts = append(s.Charts, chart{Title: "empty"}, chart{Title: "flat", LogX: true, Series: []curve{{Name: "zero", At: [][2]float64{{1, 0}, {1000, 0}}}}})
	unjudged := &section{Name: "smoke"}
	unjudged.figure("few", 1, "").atLeast(1000)
	return &result{At: time.Unix(1.7e9, 0).UTC(), Command: []string{"load", nasty}, Sections: []*section{s, unjudged}}
}

func TestReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	if err := sampleResult().writeReport(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, never := range []string{"<script", "NaN", "Inf", "http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(text, never) {
			t.Errorf("the report contains %q", never)
		}
	}
	for _, want := range []string{"99,876 /s", "&lt;script&gt;", "bare write: 5", "1.40", "40%", ">met<", ">missed<", "Latency over time", "Throughput", "99.9%"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	plots := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1)
	if len(plots) < 5 {
		t.Errorf("only %d plots", len(plots))
	}
	for _, p := range plots {
		d := xml.NewDecoder(strings.NewReader(p))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("a plot is not well formed: %v\n%s", err, p)
			}
		}
	}
}

func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result.json")
	if err := sampleResult().write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	f := back.Sections[0].Figures[1]
	if f.Floor.Ratio != 1.4 || f.Floor.Noise != 0.4 || !f.Goals[0].Met {
		t.Errorf("came back as %+v with the floor %+v and the goals %+v", f, f.Floor, f.Goals)
	}
}

func TestGoals(t *testing.T) {
	s := &section{}
	for _, x := range []struct {
		f    *figure
		want string
	}{
		{s.figure("", 5, "").atMost(5), "ok"},
		{s.figure("", 5.01, "").atMost(5), "MISSED"},
		{s.figure("", 5, "").atLeast(5), "ok"},
		{s.figure("", 4, "").atLeast(5), "MISSED"},
		{s.figure("", 14, "").against("x", 9, 11).ratioAtMost(1.4), "ok"},
		{s.figure("", 15, "").against("x", 9, 11).ratioAtMost(1.4), "MISSED"},
		{s.figure("", 1, "").atMost(2).atMost(0.5), "MISSED"},
		{s.figure("", 1, ""), ""},
	} {
		if got := x.f.verdict(true); got != x.want {
			t.Errorf("%+v: %q, want %q", *x.f, got, x.want)
		}
		if got := x.f.verdict(false); got != "" {
			t.Errorf("where goals do not count: %q", got)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	sampleResult().Sections[0].table(&b)
	for _, want := range []string{"FAILED", "99,876 /s", "bare write: 5", "40%", "ratio ≤ 1.40", "≥ 100,000", "MISSED"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.123: "0.12", 9.876: "9.88", 12.34: "12.3", 123.4: "123", 1234.5: "1,234", 1234567: "1,234,567", -1234: "-1,234", 999: "999"} {
		if got := number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

func TestTicks(t *testing.T) {
	for name, x := range map[string]struct {
		c    chart
		a    axis
		want int // at least
	}{
		"linear":        {chart{}, axis{low: 0, high: 12345}, 3},
		"small":         {chart{}, axis{low: 0, high: 0.003}, 3},
		"log":           {chart{}, axis{low: 0.05, high: 300, log: true}, 3},
		"narrow log":    {chart{}, axis{low: 1, high: 4, log: true}, 2},
		"below nothing": {chart{}, axis{low: -3, high: 4}, 3},
	} {
		ticks := x.c.ticks(x.a, ticksY, false)
		if len(ticks) < x.want || len(ticks) > 3*ticksY {
			t.Errorf("%s: the ticks %v", name, ticks)
		}
		for _, v := range ticks {
			if v < x.a.low-1e-9 || v > x.a.high*(1+1e-6) || math.IsNaN(v) {
				t.Errorf("%s: the tick %v is not between %v and %v", name, v, x.a.low, x.a.high)
			}
		}
	}
}

func TestRise(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0}, {[]float64{3}, 1}, {[]float64{4, 2, 1}, 1}, {[]float64{2, 4, 3}, 2},
		{[]float64{4, 2, 3}, 1.5}, {[]float64{1, 3, 0.5, 1}, 3}, {[]float64{1, 0, 2}, 0},
	} {
		var at curve
		for i, v := range c.values {
			at.At = append(at.At, [2]float64{float64(i), v})
		}
		if got := at.rise(); got != c.want {
			t.Errorf("the rise of %v is %v, want %v", c.values, got, c.want)
		}
	}
}
