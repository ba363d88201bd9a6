package page

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	testDeadline = 2 * time.Minute  // for the whole test; half of it may be the browser's cold start on a loaded machine
	waitDeadline = 10 * time.Second // for one condition
)

// visitor drives the page in a real browser.
type visitor struct {
	t   *testing.T
	ctx context.Context
}

// newVisitor starts Chromium; everything that it started has ended when the test has.
func newVisitor(t *testing.T) *visitor {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("SKIP: the playground page is not tested: no chromium on the PATH (Debian: apt-get install chromium)")
	}
	bounded, cancel := context.WithTimeout(context.Background(), testDeadline)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(testDeadline/2),
		chromedp.NoSandbox, // as root, in containers and CI, Chromium does not start with it
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
	)
	alloc, cancelAlloc := chromedp.NewExecAllocator(bounded, options...)
	t.Cleanup(cancelAlloc)
	ctx, cancelCtx := chromedp.NewContext(alloc)
	t.Cleanup(cancelCtx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // closes the browser and waits for the process
			t.Errorf("chromium did not end in order: %v", err)
		}
	})
	failOnConsole(t, ctx)
	return &visitor{t, ctx}
}

// failOnConsole makes script errors and refusals of the content security policy fail the test.
func failOnConsole(t *testing.T, ctx context.Context) {
	var mu sync.Mutex
	var complaints []string
	chromedp.ListenTarget(ctx, func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Error())
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.LevelError {
				complaints = append(complaints, e.Entry.Text)
			}
		}
	})
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range complaints {
			t.Errorf("the browser's console: %s", c)
		}
	})
}

func (v *visitor) run(actions ...chromedp.Action) {
	v.t.Helper()
	if err := chromedp.Run(v.ctx, actions...); err != nil {
		v.t.Fatalf("chromium: %v", err)
	}
}

func (v *visitor) click(selector string) {
	v.t.Helper()
	v.run(chromedp.Click(selector, chromedp.ByQuery, chromedp.NodeEnabled))
}

func (v *visitor) fill(selector, text string) {
	v.t.Helper()
	v.eval(fmt.Sprintf("document.querySelector(%q).select()", selector)) // what is typed replaces it
	v.run(chromedp.SendKeys(selector, text, chromedp.ByQuery))
}

// eval returns what a JavaScript expression gives, as text.
func (v *visitor) eval(expression string) (text string) {
	v.t.Helper()
	v.run(chromedp.Evaluate("String("+expression+")", &text))
	return text
}

// wait waits until a JavaScript expression is true.
func (v *visitor) wait(expression string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, waitDeadline)
	defer cancel()
	if err := chromedp.Run(ctx, chromedp.Poll(expression, nil)); err != nil {
		v.t.Fatalf("waited for: %s: %v\nstatus: %s\nnewest frames:\n%s", expression, err,
			v.eval(`document.getElementById("status").innerText`),
			v.eval(`[...document.querySelectorAll("#frames li")].slice(0, 20).map(li => li.innerText.replaceAll("\n", " ")).join("\n")`))
	}
}

func (v *visitor) state(name string) {
	v.t.Helper()
	v.wait(fmt.Sprintf("document.body.dataset.state === %q", name))
}

// rows gives the data of the events shown for a target, oldest first, with what is noted beside their type.
func (v *visitor) rows(to string) string {
	v.t.Helper()
	return v.eval(fmt.Sprintf(`[...document.querySelectorAll("#frames li[data-type=event]")].reverse()
		.filter(li => li.querySelector(".to").textContent === %q)
		.map(li => [li.querySelector(".data").textContent, ...[...li.querySelectorAll("em")].map(e => e.textContent)].join(" ")).join(", ")`, to))
}

func (v *visitor) waitRows(to, want string) {
	v.t.Helper()
	deadline := time.Now().Add(waitDeadline)
	got := v.rows(to)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ; got != want; got = v.rows(to) {
		if time.Now().After(deadline) {
			v.t.Fatalf("events of %s: %s\nwant: %s", to, got, want)
		}
		<-tick.C
	}
}

// arrived checks the number of connects and the positions that the newest brought.
func arrived(t *testing.T, s *toy, connects int, want frame) {
	t.Helper()
	all := s.resumes()
	if len(all) != connects {
		t.Fatalf("%d connects, want %d: %v", len(all), connects, all)
	}
	if got := all[connects-1]; !maps.Equal(got, want) {
		t.Fatalf("connect %d resumed from %v, want %v", connects, got, want)
	}
}

// TestPage leads a visitor through the page. The steps share one browser, so each goes on where the last one ended.
func TestPage(t *testing.T) {
	server := newToy()
	mux := http.NewServeMux()
	mux.Handle("/v1/ws", server)
	mux.Handle("/", Handler("redis://127.0.0.1:6380"))
	site := httptest.NewServer(mux)
	t.Cleanup(func() { site.Close(); server.handlers.Wait() })
	v := newVisitor(t) // after the site: so it ends first, and with it the WebSocket that the site waits for

	const alice, room = "user:alice", "topic:room-1"
	at := frame{} // the positions that the page should hold
	step := func(name string, f func(*testing.T)) {
		if !t.Run(name, func(t *testing.T) { v.t = t; f(t) }) {
			t.FailNow()
		}
	}

	step("says how to add an event", func(t *testing.T) {
		v.run(chromedp.Navigate(site.URL))
		want := `redis-cli -u redis://127.0.0.1:6380 XADD sluice:events '*' to user:alice data '{"hello":1}'`
		if got := v.eval(`document.getElementById("one").textContent`); got != want {
			t.Fatalf("line %q, want %q", got, want)
		}
	})
	step("connects and shows an event", func(t *testing.T) {
		v.click("#toggle")
		v.state("connected")
		arrived(t, server, 1, nil)
		at[alice] = server.add(alice, frame{"hello": 1})
		at["all"] = "0"
		v.waitRows(alice, `{"hello":1}`)
		v.wait(`document.querySelectorAll("#guide .done").length === 3`)
	})
	step("resumes and gets exactly what it missed", func(t *testing.T) {
		v.click("#toggle")
		v.state("away")
		var newest string
		for n := range 3 {
			newest = server.add(alice, frame{"missed": n + 1})
		}
		v.click("#toggle")
		v.waitRows(alice, `{"hello":1}, {"missed":1} missed, {"missed":2} missed, {"missed":3} missed`)
		arrived(t, server, 2, at)
		at[alice] = newest
		v.wait(`document.querySelectorAll("#guide .done").length === 5`)
		v.wait(`document.getElementById("result").textContent === "3 missed events came, in order, none twice."`)
	})
	step("subscribes and publishes", func(t *testing.T) {
		v.fill("#target", room)
		v.click("#sub")
		v.wait(`[...document.querySelectorAll("#positions .live")].some(tr => tr.textContent.includes("topic:room-1"))`)
		v.fill("#data", `{"n":7}`)
		v.fill("#event", "greeting")
		v.click("#send")
		v.waitRows(room, `{"n":7}`)
		v.wait(`document.querySelector("#frames li[data-type=published] .to")?.textContent === "topic:room-1"`)
		server.do(func() {
			p := server.publishes[0]
			if p["event"] != "greeting" || p["to"] != room || p["data"].(frame)["n"] != 7.0 || len(p["id"].(string)) != 32 {
				t.Errorf("published %v", p)
			}
			at[room] = server.newest(room)
		})
	})
	step("publishes again under the same key when the answer was lost", func(t *testing.T) {
		server.do(func() { server.mute = true })
		v.fill("#data", "plain text")
		v.click("#send")
		v.wait(`document.querySelectorAll("#frames li.sent[data-type=publish]").length === 2`)
		server.do(func() { server.mute = false })
		server.vanish()
		v.wait(`document.querySelectorAll("#frames li[data-type=published]").length === 2`)
		arrived(t, server, 3, at)
		server.do(func() {
			if p := server.publishes; len(p) != 3 || p[1]["id"] != p[2]["id"] || p[1]["id"] == p[0]["id"] || p[2]["data"] != "plain text" {
				t.Errorf("published %v", p)
			}
			at[room] = server.newest(room)
		})
		v.waitRows(room, `{"n":7}, "plain text"`)
	})
	step("shows hostile data as text", func(t *testing.T) {
		hostile := `<img src=x onerror="document.title='owned'">`
		server.do(func() { at["all"] = server.append("all", hostile, frame{"event": hostile, "from": hostile}) })
		v.waitRows("all", `"<img src=x onerror=\"document.title='owned'\">"`)
		if got := v.eval(`document.title + " " + document.images.length`); got != "Sluice playground 0" {
			t.Errorf("title and number of images: %q", got)
		}
	})
	step("moves its position by skip and gap", func(t *testing.T) {
		server.do(func() {
			at["all"] = "1700000050000-0"
			server.send(frame{"type": "skip", "to": "all", "id": at["all"], "prev": server.newest("all")})
		})
		v.wait(`[...document.querySelectorAll("#positions .id")].some(td => td.textContent === "1700000050000-0")`)
		v.click("#toggle")
		v.state("away")
		server.add(alice, "gone")
		newest := server.add(alice, "also before the position")
		server.trim(alice)
		v.click("#toggle")
		v.wait(`document.getElementById("why").textContent.includes("trimmed")`)
		arrived(t, server, 4, at)
		at[alice] = newest
		server.end(1013)
		v.state("waiting")
		v.state("connected")
		arrived(t, server, 5, at)
	})
	step("keeps away as long as goaway says", func(t *testing.T) {
		start := time.Now()
		server.end(1012, frame{"type": "goaway", "after_ms": 1700, "reason": "draining"})
		v.wait(`document.getElementById("why").textContent.includes("Coming back in 1.7 s.")`)
		v.state("connected")
		if d := time.Since(start); d < 1700*time.Millisecond {
			t.Errorf("came back after %v", d)
		}
		arrived(t, server, 6, at)
	})
	step("keeps its positions over a reload", func(t *testing.T) {
		v.run(chromedp.Reload())
		v.wait(`document.getElementById("toggle").textContent === "Resume"`)
		v.click("#toggle")
		v.state("connected")
		arrived(t, server, 7, at)
	})
	step("forgets a target that it leaves", func(t *testing.T) {
		v.click(`[aria-label="Leave topic:room-1"]`)
		v.wait(`!document.getElementById("positions").textContent.includes("topic:room-1")`)
		delete(at, room)
	})
	step("notices a hole and a repeat", func(t *testing.T) {
		server.do(func() {
			server.send(frame{"type": "event", "to": alice, "id": "1800000000000-0", "prev": "1799999999999-0", "data": "late"})
			server.send(frame{"type": "event", "to": alice, "id": "1800000000000-0", "prev": "1799999999999-0", "data": "late"})
			server.send(frame{"type": "event", "to": alice, "data": "live only"})
		})
		v.waitRows(alice, `"late" hole before, "late" repeated, "live only"`)
		at[alice] = "1800000000000-0"
	})
	step("bounds the list", func(t *testing.T) {
		for n := range 700 {
			server.add(alice, strings.Repeat("x", 10)+fmt.Sprint(n))
		}
		v.wait(`document.querySelector("#frames li .data")?.textContent === '"xxxxxxxxxx699"'`)
		if got := v.eval(`document.querySelectorAll("#frames li").length`); got != "500" {
			t.Errorf("%s rows, want 500", got)
		}
	})
	step("stops when told to, and says why", func(t *testing.T) {
		server.end(4503)
		v.state("stopped")
		why := v.eval(`document.getElementById("why").textContent`)
		if !strings.Contains(why, "may not be connected") || !strings.Contains(why, "4503") {
			t.Errorf("status %q", why)
		}
		v.click("#toggle") // a person may still try
		v.state("connected")
		arrived(t, server, 8, at)
	})
}
