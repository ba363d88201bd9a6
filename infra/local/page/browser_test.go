package page

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"sluice/infra/local/page/pagetest"
)

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
	v := pagetest.New(t) // after the site: so it ends first, and with it the WebSocket that the site waits for

	const alice, room = "user:alice", "topic:room-1"
	at := frame{} // the positions that the page should hold
	step := func(name string, f func(*testing.T)) {
		if !t.Run(name, func(t *testing.T) { v.T = t; f(t) }) {
			t.FailNow()
		}
	}

	step("says how to add an event", func(t *testing.T) {
		v.Open(site.URL)
		want := `redis-cli -u redis://127.0.0.1:6380 XADD sluice:events '*' to user:alice data '{"hello":1}'`
		if got := v.Eval(`document.getElementById("one").textContent`); got != want {
			t.Fatalf("line %q, want %q", got, want)
		}
	})
	step("connects and shows an event", func(t *testing.T) {
		v.Click("#toggle")
		v.State("connected")
		arrived(t, server, 1, nil)
		at[alice] = server.add(alice, frame{"hello": 1})
		at["all"] = "0"
		v.WaitRows(alice, `{"hello":1}`)
		v.Wait(`document.querySelectorAll("#guide .done").length === 3`)
	})
	step("resumes and gets exactly what it missed", func(t *testing.T) {
		v.Click("#toggle")
		v.State("away")
		var newest string
		for n := range 3 {
			newest = server.add(alice, frame{"missed": n + 1})
		}
		v.Click("#toggle")
		v.WaitRows(alice, `{"hello":1}, {"missed":1} missed, {"missed":2} missed, {"missed":3} missed`)
		arrived(t, server, 2, at)
		at[alice] = newest
		v.Wait(`document.querySelectorAll("#guide .done").length === 5`)
		v.Wait(`document.getElementById("result").textContent === "3 missed events came, in order, none twice."`)
	})
	step("subscribes and publishes", func(t *testing.T) {
		v.Fill("#target", room)
		v.Click("#sub")
		v.Wait(`[...document.querySelectorAll("#positions .live")].some(tr => tr.textContent.includes("topic:room-1"))`)
		v.Fill("#data", `{"n":7}`)
		v.Fill("#event", "greeting")
		v.Click("#send")
		v.WaitRows(room, `{"n":7}`)
		v.Wait(`document.querySelector("#frames li[data-type=published] .to")?.textContent === "topic:room-1"`)
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
		v.Fill("#data", "plain text")
		v.Click("#send")
		v.Wait(`document.querySelectorAll("#frames li.sent[data-type=publish]").length === 2`)
		server.await(t, func() bool { return len(server.publishes) == 2 })
		server.do(func() { server.mute = false })
		server.vanish()
		v.Wait(`document.querySelectorAll("#frames li[data-type=published]").length === 2`)
		arrived(t, server, 3, at)
		server.do(func() {
			if p := server.publishes; len(p) != 3 || p[1]["id"] != p[2]["id"] || p[1]["id"] == p[0]["id"] || p[2]["data"] != "plain text" {
				t.Errorf("published %v", p)
			}
			at[room] = server.newest(room)
		})
		v.WaitRows(room, `{"n":7}, "plain text"`)
	})
	step("shows hostile data as text", func(t *testing.T) {
		hostile := `<img src=x onerror="document.title='owned'">`
		server.do(func() { at["all"] = server.append("all", hostile, frame{"event": hostile, "from": hostile}) })
		v.WaitRows("all", `"<img src=x onerror=\"document.title='owned'\">"`)
		if got := v.Eval(`document.title + " " + document.images.length`); got != "Sluice playground 0" {
			t.Errorf("title and number of images: %q", got)
		}
	})
	step("moves its position by skip and gap", func(t *testing.T) {
		server.do(func() {
			at["all"] = fmt.Sprintf("%d-99999", time.Now().UnixMilli())
			server.send(frame{"type": "skip", "to": "all", "id": at["all"], "prev": server.newest("all")})
		})
		v.Wait(`[...document.querySelectorAll("#positions .id")].some(td => td.textContent === "` + at["all"].(string) + `")`)
		v.Click("#toggle")
		v.State("away")
		server.add(alice, "gone")
		newest := server.add(alice, "also before the position")
		server.trim(alice)
		v.Click("#toggle")
		v.Wait(`document.getElementById("why").textContent.includes("trimmed")`)
		arrived(t, server, 4, at)
		at[alice] = newest
		server.end(1013)
		v.State("waiting")
		v.State("connected")
		arrived(t, server, 5, at)
	})
	step("keeps away as long as goaway says", func(t *testing.T) {
		start := time.Now()
		server.end(1012, frame{"type": "goaway", "after_ms": 1700, "reason": "draining"})
		v.Wait(`document.getElementById("why").textContent.includes("Coming back in 1.7 s.")`)
		v.State("connected")
		if d := time.Since(start); d < 1700*time.Millisecond {
			t.Errorf("came back after %v", d)
		}
		arrived(t, server, 6, at)
	})
	step("keeps its positions over a reload", func(t *testing.T) {
		v.Run(chromedp.Reload())
		v.Wait(`document.getElementById("toggle").textContent === "Resume"`)
		v.Click("#toggle")
		v.State("connected")
		arrived(t, server, 7, at)
	})
	step("forgets a target that it leaves", func(t *testing.T) {
		v.Click(`[aria-label="Leave topic:room-1"]`)
		v.Wait(`!document.getElementById("positions").textContent.includes("topic:room-1")`)
		delete(at, room)
	})
	step("notices a hole and a repeat", func(t *testing.T) {
		server.do(func() {
			server.send(frame{"type": "event", "to": alice, "id": "1800000000000-0", "prev": "1799999999999-0", "data": "late"})
			server.send(frame{"type": "event", "to": alice, "id": "1800000000000-0", "prev": "1799999999999-0", "data": "late"})
			server.send(frame{"type": "event", "to": alice, "data": "live only"})
		})
		v.WaitRows(alice, `"late" hole before, "late" repeated, "live only"`)
		at[alice] = "1800000000000-0"
	})
	step("bounds the list", func(t *testing.T) {
		for n := range 700 {
			server.add(alice, strings.Repeat("x", 10)+fmt.Sprint(n))
		}
		v.Wait(`document.querySelector("#frames li .data")?.textContent === '"xxxxxxxxxx699"'`)
		if got := v.Eval(`document.querySelectorAll("#frames li").length`); got != "500" {
			t.Errorf("%s rows, want 500", got)
		}
	})
	step("stops when told to, and says why", func(t *testing.T) {
		server.end(4503)
		v.State("stopped")
		why := v.Eval(`document.getElementById("why").textContent`)
		if !strings.Contains(why, "may not be connected") || !strings.Contains(why, "4503") {
			t.Errorf("status %q", why)
		}
		v.Click("#toggle") // a person may still try
		v.State("connected")
		arrived(t, server, 8, at)
	})
}
