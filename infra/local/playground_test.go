package local

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/infra/local/page/pagetest"
)

// playground is an installation with its page in a browser, and both of the page's clients.
func playground(t *testing.T) (v *pagetest.Visitor, a, b pagetest.Pane, out *output) {
	t.Helper()
	out = start(t, map[string]string{"SLUICE_ADDR": "127.0.0.1:0", "SLUICE_ADMIN_ADDR": "127.0.0.1:0"})
	v = pagetest.New(t, "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE") // of a gateway that was killed
	v.Open(word(t, out, "page "))
	a, b = pagetest.Pane{Visitor: v, Name: "A"}, pagetest.Pane{Visitor: v, Name: "B"}
	v.Wait(`document.querySelectorAll("#gateways li").length === 2`)
	return v, a, b, out
}

// numbers are events of a burst in order, each with a mark.
func numbers(mark string) string {
	all := make([]string, 50)
	for i := range all {
		all[i] = strings.TrimSpace(fmt.Sprintf(`{"n":%d,"of":50} %s`, i+1, mark))
	}
	return strings.Join(all, ", ")
}

const room = "topic:room-1"

// TestPlayground leads through the page: an event from a terminal, a cut, another door, a pause and the death of a gateway. All that
// was missed comes again, in order and once, and is marked, and nothing else is.
func TestPlayground(t *testing.T) {
	v, a, b, out := playground(t)
	step := func(name string, f func(*testing.T)) {
		if !t.Run(name, func(t *testing.T) { v.T = t; f(t) }) {
			t.FailNow()
		}
	}
	fresh := func() {
		v.Click(a.Part("clear"))
		v.Click(b.Part("clear"))
	}
	step("shows an event that is added from a terminal", func(t *testing.T) {
		a.Select("gateway", "1")
		v.Click(a.Part("toggle"))
		a.Await("connected", "to gateway 2")
		b.Select("gateway", "0")
		v.Click(b.Part("toggle"))
		b.Await("connected", "to gateway 1")
		v.Wait(`["A", "B"].every((name) => document.querySelector("#pane-" + name + " [data-type=subscribed][data-to='topic:room-1']"))`)
		want := "redis-cli -u " + word(t, out, "redis-cli -u ") + ` XADD sluice:events '*' to topic:room-1 data '{"hello":1}'`
		if got := v.Eval(`document.getElementById("line").textContent`); got != want {
			t.Fatalf("line %q, want %q", got, want)
		}
		add(t, out, `{"hello":1}`)
		a.WaitRows(room, `{"hello":1}`)
		b.WaitRows(room, `{"hello":1}`)
	})
	step("gives exactly what was missed to who left and comes back", func(t *testing.T) {
		v.Click(a.Part("toggle"))
		a.Await("away", "")
		fresh()
		add(t, out, "2", "3", "4")
		b.WaitRows(room, "2, 3, 4") // so they are in the history
		v.Click(a.Part("toggle"))
		a.WaitRows(room, "2 recovered, 3 recovered, 4 recovered")
	})
	step("marks what was missed while the link was cut", func(t *testing.T) {
		fresh()
		v.Click(a.Part("cut"))
		a.Await("waiting", "")
		v.Click(b.Part("burst"))
		b.WaitRows(room, numbers(""))
		v.Click(a.Part("cut"))
		a.WaitRows(room, numbers("recovered"))
		v.Wait(fmt.Sprintf(`document.querySelector(%q).textContent === "Back, and nothing is missing."`, a.Part("result")))
		v.Click(b.Part("send"))
		a.WaitRows(room, numbers("recovered")+`, {"text":"hi"}`)
	})
	step("goes on through another door", func(t *testing.T) {
		fresh()
		a.Select("door", "sse")
		a.Await("connected", "by event stream")
		v.Click(b.Part("send"))
		a.WaitRows(room, `{"text":"hi"}`)
	})
	step("lets what is not read wait", func(t *testing.T) {
		count := func(came, handled int) { // since A connected again; the page counts a moment later than it shows
			t.Helper()
			v.Wait(fmt.Sprintf(`document.querySelector(%q).textContent.startsWith("%d events came, 53 of them recovered, %d handled;")`, a.Part("stats"), came, handled))
		}
		count(55, 55) // 3, 50, and one by each door
		v.Click(a.Part("pause"))
		v.Click(b.Part("send"))
		a.WaitRows(room, `{"text":"hi"}, {"text":"hi"}`)
		count(56, 55)
		v.Click(a.Part("pause"))
		count(56, 56)
	})
	step("outlives a gateway that is killed, and takes it again", func(t *testing.T) {
		fresh()
		a.Select("door", "ws")
		a.Await("connected", "to gateway 2")
		v.Wait(`["ws bob", "ws alice"].every((row) => [...document.querySelectorAll("#sessions tr")].some((tr) => tr.children[3].textContent + " " + tr.children[0].textContent === row))`)
		v.Click("#gateway-toggle")
		v.Wait(`document.querySelector("#gateways li:last-child").dataset.runs === "false"`)
		a.Await("waiting", "")
		v.Click(b.Part("burst"))
		b.WaitRows(room, numbers(""))
		a.Select("gateway", "")
		a.Await("connected", "to gateway 1")
		a.WaitRows(room, numbers("recovered"))
		v.Click("#gateway-toggle")
		v.Wait(`document.querySelector("#gateways li:last-child").dataset.runs === "true"`)
		a.Select("gateway", "1")
		a.Await("connected", "to gateway 2")
		v.Click(b.Part("send"))
		a.WaitRows(room, numbers("recovered")+`, {"text":"hi"}`)
	})
	step("shows calls, their replies and what the function heard, also while it fails", func(t *testing.T) {
		call := func(name, argument, reply string) {
			t.Helper()
			v.Fill(a.Part("name"), name)
			v.Fill(a.Part("argument"), argument)
			v.Click(a.Part("ask"))
			v.Wait(fmt.Sprintf(`document.querySelector(%q).textContent.startsWith(%q)`, a.Part("reply"), name+" "+reply+" after "))
		}
		call("count", "1", "replied 1")
		call("count", "1", "replied 2")
		call("echo", "<b>", `replied "<b>"`)
		call("fail", "7", "replied 7") // it comes again until it is answered
		fresh()
		call("say", `{"text":"from a function"}`, `replied "said"`)
		b.WaitRows(room, `{"text":"from a function"}`)
		heard := func(row string) string {
			return fmt.Sprintf(`[...document.querySelectorAll("#function-log tr")].some((tr) => [...tr.children].slice(3).map((td) => td.textContent).join(" | ") === %q)`, row)
		}
		v.Wait(heard(`call count | 1 | 200 {"reply":2,"state":2}`))
		v.Wait(heard(`call fail, try 2 | 7 | 503 {"error":"not now"}`))
		v.Wait(heard(`call fail, try 3 | 7 | 200 {"reply":7}`))
		v.Wait(`[...document.querySelectorAll("#function-log tr")].some((tr) => tr.children[1].textContent === "user:alice" && tr.children[3].textContent.startsWith("disconnected "))`)
	})
	step("shows hostile data as text, and bounds the list", func(t *testing.T) {
		fresh()
		hostile := `<img src=x onerror=document.title=1>`
		add(t, out, hostile)
		a.WaitRows(room, `"`+hostile+`"`)
		if got := v.Eval(`document.title + " " + document.images.length`); got != "Sluice playground 0" {
			t.Errorf("title and number of images: %q", got)
		}
		many := make([]string, 310)
		for n := range many {
			many[n] = fmt.Sprint(n)
		}
		add(t, out, many...)
		v.Wait(`document.querySelector("#pane-A .frames li .data").textContent === "309"`)
		if got := v.Eval(`document.querySelectorAll("#pane-A .frames li").length`); got != "300" {
			t.Errorf("%s rows, want 300", got)
		}
	})
}

// add appends events for the room as a terminal would.
func add(t *testing.T, out *output, all ...string) {
	t.Helper()
	opts, err := redis.ParseURL(word(t, out, "redis-cli -u "))
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer func() { _ = rdb.Close() }()
	for _, data := range all {
		if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "sluice:events", Values: []any{"to", room, "data", data}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestControlIsThePageOnly: other pages cannot kill a gateway, and without SLUICE_AUTH=dev there is none to kill.
func TestControlIsThePageOnly(t *testing.T) {
	ask := func(url, from string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"playground/gateways/kill", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", from)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	environ := map[string]string{"SLUICE_ADDR": "127.0.0.1:0", "SLUICE_ADMIN_ADDR": "127.0.0.1:0"}
	dev := word(t, start(t, environ), "page ")
	if got := ask(dev, "https://other.example"); got != http.StatusForbidden {
		t.Errorf("another page is answered with %d", got)
	}
	if got := ask(dev, strings.TrimSuffix(dev, "/")); got != http.StatusNoContent {
		t.Errorf("the page itself is answered with %d", got)
	}
	jwt := map[string]string{"SLUICE_ADDR": "127.0.0.1:0", "SLUICE_ADMIN_ADDR": "127.0.0.1:0", "SLUICE_AUTH": "jwt", "SLUICE_JWT_SECRET": strings.Repeat("x", 32)}
	page := word(t, start(t, jwt), "page ")
	if got := ask(page, strings.TrimSuffix(page, "/")); got != http.StatusNotFound {
		t.Errorf("with tokens it is answered with %d", got)
	}
}
