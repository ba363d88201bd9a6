package local

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"sluice/infra/local/page/pagetest"
)

// faults are scripts that give a list of what is wrong with the page, as text: "" if nothing is.
var faults = map[string]string{
	"is cut off or beside the screen": `
		const all = [...document.querySelectorAll("body, body *")].filter((e) => e.checkVisibility() && !e.matches(".hidden, input, select, option"));
		const wide = all.filter((e) => !e.matches(".scroll") && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1 && e.clientWidth);
		const beside = all.filter((e) => !e.closest(".scroll") && (e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0));
		if (document.documentElement.scrollWidth > innerWidth) beside.push(document.documentElement);
		return [...wide.filter((e) => !e.querySelector(".scroll") || e.scrollWidth > innerWidth), ...beside].map(name);`,
	"cannot be reached by a finger": `
		return [...document.querySelectorAll("button, input, select, summary")].filter((e) => e.checkVisibility()).filter((e) => {
			e.scrollIntoView({ block: "center" });
			const { left, top, width, height } = e.getBoundingClientRect();
			const there = document.elementFromPoint(left + width / 2, top + height / 2);
			return !(e === there || e.contains(there)) || height < 24 || width < 24;
		}).map(name);`,
	"is hard to read": `
		const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
		const rgb = (color) => (paint.clearRect(0, 0, 1, 1), paint.fillStyle = color, paint.fillRect(0, 0, 1, 1), [...paint.getImageData(0, 0, 1, 1).data]);
		const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
		const behind = (e) => {
			for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; }
		};
		const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((a, b) => b - a); return (x + 0.05) / (y + 0.05); };
		return [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.matches(":disabled, .hidden, option"))
			.filter((e) => e.matches("input, select") || [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
			.map((e) => [e, contrast(rgb(getComputedStyle(e).color), behind(e))]).filter(([, c]) => c < 4.5).map(([e, c]) => name(e) + " " + c.toFixed(1));`,
}

// named runs a script with name(e), which tells where on the page an element is.
func named(script string) string {
	return `(() => {
		const name = (e) => (e.closest("[id]")?.id ?? "") + " " + e.localName + " " + (e.dataset?.part ?? e.id) + " " + e.className + " " + (e.textContent ?? "").slice(0, 20);
		const found = (() => {` + script + `})();
		return found.join("\n");
	})()`
}

// TestPlaygroundForEveryone leads through the page by keyboard, and then looks at it on a phone.
func TestPlaygroundForEveryone(t *testing.T) {
	t.Parallel()
	v, a, b, _ := playground(t)
	byKeyboard(t, v, a, b)
	onAPhone(t, v, a)
}

// onAPhone: on 360 px, light and dark, with long names and data, nothing is beside the screen, and all can be read and reached.
func onAPhone(t *testing.T, v *pagetest.Visitor, a pagetest.Pane) {
	v.Run(chromedp.EmulateViewport(360, 740))
	v.Eval(`document.querySelectorAll("details").forEach((e) => { e.open = true; })`)
	long := strings.Repeat("W", 122)
	v.Fill(a.Part("target"), "topic:"+long)
	v.Click(a.Part("subscribe"))
	v.Fill(a.Part("data"), long+long)
	v.Click(a.Part("send"))
	a.WaitRows("topic:"+long, `"`+long+long+`"`)
	v.Fill(a.Part("name"), "echo")
	v.Fill(a.Part("argument"), long+long)
	v.Click(a.Part("ask"))
	v.Wait(fmt.Sprintf(`document.querySelector(%q).textContent.includes("WWW")`, a.Part("reply")))
	v.Wait(`document.querySelector("#function-log").textContent.includes("WWW") && document.querySelector("#sessions tr")`)
	for _, scheme := range []string{"light", "dark"} {
		v.Run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
		for what, script := range faults {
			if found := v.Eval(named(script)); found != "" {
				t.Errorf("%s: this %s:\n%s", scheme, what, found)
			}
		}
	}
}

// byKeyboard: Tab reaches every control in the order of the page, each shows that it has the focus, and all that the page can do is
// done without a mouse.
func byKeyboard(t *testing.T, v *pagetest.Visitor, a, b pagetest.Pane) {
	press := func(keys ...string) {
		t.Helper()
		for _, k := range keys {
			v.Run(chromedp.KeyEvent(k))
		}
	}
	// focused fails unless an element has the focus, and shows it.
	focused := func(selector string) {
		t.Helper()
		v.Wait(fmt.Sprintf(`document.activeElement === document.querySelector(%q)`, selector))
		if found := v.Eval(`(({ outlineStyle, outlineWidth, outlineColor }) => outlineStyle + " " + (parseFloat(outlineWidth) >= 2))(getComputedStyle(document.activeElement))`); found != "solid true" {
			t.Errorf("%s does not show that it has the focus: %s", selector, found)
		}
	}
	focus := func(selector string) {
		t.Helper()
		v.Eval(fmt.Sprintf("document.querySelector(%q).focus()", selector))
		focused(selector)
	}

	press(kb.Tab)
	focused(a.Part("user"))
	press(kb.Enter)
	a.Await("connected", "")
	focus(b.Part("toggle"))
	press(" ")
	b.Await("connected", "")
	v.Wait(`["A", "B"].every((name) => document.querySelector("#pane-" + name + " [data-type=subscribed][data-to='topic:room-1']"))`)

	focus(a.Part("data"))
	press(kb.Enter)
	b.WaitRows(room, `{"text":"hi"}`)
	focus(a.Part("argument"))
	press(kb.Enter)
	v.Wait(fmt.Sprintf(`document.querySelector(%q).textContent.startsWith("count replied")`, a.Part("reply")))
	focus(a.Part("cut"))
	press(" ")
	a.Await("waiting", "")
	focused(a.Part("cut"))
	press(" ")
	a.Await("connected", "")
	focus(a.Part("door"))
	press(kb.ArrowDown)
	a.Await("connected", "by event stream")
	focus("#pane-A summary")
	press(kb.Enter)
	v.Wait(`document.querySelector("#pane-A details").open`)
	press(kb.Tab)
	focused(`#pane-A [data-part=positions] button:not([hidden])`)
	press(kb.Enter)
	v.Wait(`!document.querySelector("#pane-A [data-part=positions] button:not([hidden])")`)
	focused("#pane-A summary")
	focus("#gateway-toggle")
	press(kb.Enter)
	v.Wait(`document.querySelector("#gateways li:last-child").dataset.runs === "false"`)
	focused("#gateway-toggle")
	press(kb.Enter)
	v.Wait(`document.querySelector("#gateways li:last-child").dataset.runs === "true"`)
	focus("#copy")
	press(kb.Enter)

	// Round the page once.
	a.Await("connected", "")
	b.Await("connected", "")
	want := v.Eval(`[...document.querySelectorAll("input, select, button, summary, [tabindex='0']")].filter((e) => e.checkVisibility() && !e.disabled)
		.map((e, i) => (e.dataset.stop = i)).length`)
	press(kb.Tab) // the button was the last stop
	var got []string
	for range 80 {
		press(kb.Tab)
		at := v.Eval(`(() => {
			const e = document.activeElement, { top, bottom } = e.getBoundingClientRect(), { outlineStyle } = getComputedStyle(e);
			return e === document.body ? "" : (e.dataset.stop ?? e.outerHTML) + (outlineStyle === "solid" ? "" : " without a focus") + (bottom > 0 && top < innerHeight ? "" : " out of sight");
		})()`)
		if at == "" {
			break
		}
		got = append(got, at)
	}
	var n int
	_, _ = fmt.Sscan(want, &n)
	for i := range max(n, len(got)) {
		if i >= len(got) || got[i] != fmt.Sprint(i) {
			t.Fatalf("Tab stops at %v, want all of %d in order", got, n)
		}
	}
}
