package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"html"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files again")

const nasty = `<script>alert("x")</script> & 'co'`

// sampleResult has a bit of everything, and names that would break a page.
func sampleResult() *result {
	judged := &section{Name: "fanout", Title: "1,000 subscribers", About: nasty, Seconds: 12.3, Error: nasty}
	median := measured("last one", 742, "ms").against("bare accept and write", 385, 535).atMost(400).note("median of 3 rounds")
	median.Range = &[2]float64{650.4, 1210}
	judged.add(
		measured("deliveries "+nasty, 99_876, "/s").atLeast(100_000),
		cost("gateways", 7).against("bare write", 4, 6).ratioAtMost(1.4).note(nasty),
		cost("of processes that are not known", math.NaN()),
		measured("nothing to compare with", 1.5, "ms").atMost(2.5).against("write", 0),
		median,
	)
	w := &window{phase: nasty, took: time.Second, events: 300, latency: newHist()}
	for i := range 3 {
		for range 1000 {
			w.latency.record(time.Duration(i) * time.Millisecond)
		}
		w.samples = append(w.samples, sample{at: time.Duration(i) * time.Second, took: time.Second, events: 100,
			p50: time.Millisecond, p99: 2 * time.Millisecond, max: 3 * time.Millisecond, cpu: map[string]float64{roleGateway: 0.5}})
	}
	judged.add(latency("XADD to client", w.latency))
	for i := range judged.Measurements {
		judged.Measurements[i].judge()
	}
	judged.plot(w.overTime()...)
	judged.plot(
		distributions("Latency", distribution(nasty, w.latency), distribution("nothing", newHist())),
		plot{Title: "empty"},
		plot{Title: "flat", X: "targets", Y: "CPU s/M", Curves: []curve{{Name: "zero", At: [][2]float64{{1, 0}, {1000, 0}}}}},
	)
	unjudged := &section{Name: "smoke"}
	unjudged.add(measured("few", 1, "").atLeast(1000))
	return &result{At: time.Unix(1.7e9, 0).UTC(), Command: []string{"load", nasty}, Sections: []*section{judged, unjudged}}
}

// renderings are all that is made of a result, by the names of the golden files.
func renderings(t *testing.T, r *result) map[string]string {
	t.Helper()
	var table, page, data strings.Builder
	for _, s := range r.Sections {
		s.table(&table)
	}
	if err := errors.Join(r.page(&page), r.json(&data)); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"table.txt": table.String(), "report.html": page.String(), "result.json": data.String()}
}

func TestGolden(t *testing.T) {
	for name, got := range renderings(t, sampleResult()) {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is another one; 'go test ./e2e/load -run TestGolden -update' writes it again, and git shows what has changed:\n%s", path, got)
		}
	}
}

// TestAllShowTheSame reads the JSON back: table and page must come out as they were, so nothing in them is from elsewhere.
// And each cell of the table must be on the page.
func TestAllShowTheSame(t *testing.T) {
	r := sampleResult()
	want := renderings(t, r)
	var back result
	if err := json.Unmarshal([]byte(want["result.json"]), &back); err != nil {
		t.Fatal(err)
	}
	for name, got := range renderings(t, &back) {
		if got != want[name] {
			t.Errorf("%s is another one when it is made of the JSON:\n%s\nwas\n%s", name, got, want[name])
		}
	}
	for _, s := range r.Sections {
		for _, m := range s.Measurements {
			row := ""
			for _, c := range m.Cells() {
				if !strings.Contains(want["table.txt"], c.Text) {
					t.Errorf("the table lacks %q", c.Text)
				}
				row += html.UnescapeString(c.Text) + "|"
			}
			if !slices.Contains(rows(want["report.html"]), row) {
				t.Errorf("the page lacks the row %q", row)
			}
		}
	}
}

var (
	rowOfPage  = regexp.MustCompile(`(?s)<tr><td.*?</tr>`)
	cellOfPage = regexp.MustCompile(`(?s)<td[^>]*>(.*?)</td>`)
	tag        = regexp.MustCompile(`<[^>]*>`)
)

// rows are the page's rows of measurements, with the texts of their cells.
func rows(page string) (all []string) {
	for _, row := range rowOfPage.FindAllString(page, -1) {
		text := ""
		for _, c := range cellOfPage.FindAllStringSubmatch(row, -1) {
			text += html.UnescapeString(tag.ReplaceAllString(c[1], "")) + "|"
		}
		all = append(all, text)
	}
	return all
}

// TestPageIsWhole: it needs nothing from elsewhere, and its plots are well formed.
func TestPageIsWhole(t *testing.T) {
	page := renderings(t, sampleResult())["report.html"]
	for _, never := range []string{"<script", "NaN", "Inf", "http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(page, never) {
			t.Errorf("the page contains %q", never)
		}
	}
	plots := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
	if len(plots) != 5 {
		t.Errorf("%d plots, want 5", len(plots))
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

func TestJudge(t *testing.T) {
	for _, x := range []struct {
		m    measurement
		want string
	}{
		{measured("", 5, "").atMost(5), met},
		{measured("", 5.01, "").atMost(5), missed},
		{measured("", 5, "").atLeast(5), met},
		{measured("", 4, "").atLeast(5), missed},
		{measured("", 6, "").atLeast(5), met},
		{measured("", 14, "").against("x", 9, 11).ratioAtMost(1.4), met},
		{measured("", 15, "").against("x", 9, 11).ratioAtMost(1.4), missed},
		{measured("", 1, ""), ""},
	} {
		if x.m.judge(); x.m.Verdict != x.want {
			t.Errorf("%+v: %q, want %q", x.m, x.m.Verdict, x.want)
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
		c    plot
		a    axis
		want int // at least
	}{
		"linear":        {plot{}, axis{low: 0, high: 12345}, 3},
		"small":         {plot{}, axis{low: 0, high: 0.003}, 3},
		"log":           {plot{}, axis{low: 0.05, high: 300, log: true}, 3},
		"narrow log":    {plot{}, axis{low: 1, high: 4, log: true}, 2},
		"below nothing": {plot{}, axis{low: -3, high: 4}, 3},
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
			at.add(float64(i), v)
		}
		if got := at.rise(); got != c.want {
			t.Errorf("the rise of %v is %v, want %v", c.values, got, c.want)
		}
	}
}
