// Package pagetest drives the playground in a real browser.
package pagetest

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
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
	waitDeadline = 20 * time.Second // for one condition
)

// Visitor drives the page in a real browser.
type Visitor struct {
	T   *testing.T // the present test
	ctx context.Context
}

// New starts Chromium; everything that it started has ended when the test has. What the browser's console says fails the test,
// but for messages that contain one of expected.
func New(t *testing.T, expected ...string) *Visitor {
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
	failOnConsole(t, ctx, expected)
	return &Visitor{t, ctx}
}

// failOnConsole makes script errors and refusals of the content security policy fail the test.
func failOnConsole(t *testing.T, ctx context.Context, expected []string) {
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
			if !slices.ContainsFunc(expected, func(part string) bool { return strings.Contains(c, part) }) {
				t.Errorf("the browser's console: %s", c)
			}
		}
	})
}

// Run does what chromedp offers.
func (v *Visitor) Run(actions ...chromedp.Action) {
	v.T.Helper()
	if err := chromedp.Run(v.ctx, actions...); err != nil {
		v.T.Fatalf("chromium: %v", err)
	}
}

// Open goes to a page.
func (v *Visitor) Open(url string) {
	v.T.Helper()
	v.Run(chromedp.Navigate(url))
}

// Click clicks what can be clicked, wherever on the page it is.
func (v *Visitor) Click(selector string) {
	v.T.Helper()
	v.Wait(fmt.Sprintf("document.querySelector(%q)?.disabled === false", selector))
	v.Eval(fmt.Sprintf("document.querySelector(%q).click()", selector))
}

// Fill replaces what is in a field.
func (v *Visitor) Fill(selector, text string) {
	v.T.Helper()
	v.Eval(fmt.Sprintf("document.querySelector(%q).select()", selector)) // what is typed replaces it
	v.Run(chromedp.SendKeys(selector, text, chromedp.ByQuery))
}

// Eval returns what a JavaScript expression gives, as text.
func (v *Visitor) Eval(expression string) (text string) {
	v.T.Helper()
	v.Run(chromedp.Evaluate("String("+expression+")", &text))
	return text
}

// Wait waits until a JavaScript expression is true.
func (v *Visitor) Wait(expression string) {
	v.T.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, waitDeadline)
	defer cancel()
	if err := chromedp.Run(ctx, chromedp.Poll(expression, nil)); err != nil {
		v.T.Fatalf("waited for: %s: %v\nthe page:\n%s", expression, err, v.Eval(`document.body.innerText.slice(0, 6000)`))
	}
}

// Pane is one of the page's two clients.
type Pane struct {
	*Visitor
	Name string // A or B
}

// Part is the selector of one of its parts, by data-part.
func (p Pane) Part(name string) string { return fmt.Sprintf("#pane-%s [data-part=%s]", p.Name, name) }

// Select chooses an option of a select by its value.
func (p Pane) Select(part, value string) {
	p.T.Helper()
	p.Eval(fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.value = %q; e.dispatchEvent(new Event("change")); })()`, p.Part(part), value))
}

// Await waits for the state of the connection, and for words in what is said about it.
func (p Pane) Await(state, words string) {
	p.T.Helper()
	p.Wait(fmt.Sprintf(`document.querySelector("#pane-%s").dataset.state === %q && document.querySelector(%q).textContent.includes(%q)`,
		p.Name, state, p.Part("why"), words))
}

// Rows gives the data of the events shown for a target, oldest first, with the mark behind it.
func (p Pane) Rows(to string) string {
	p.T.Helper()
	return p.Eval(fmt.Sprintf(`[...document.querySelectorAll("#pane-%s .frames li[data-type=event]")].reverse().filter((li) => li.dataset.to === %q)
		.map((li) => [li.querySelector(".data").textContent, li.dataset.mark].filter(Boolean).join(" ")).join(", ")`, p.Name, to))
}

// WaitRows waits until Rows are these.
func (p Pane) WaitRows(to, want string) {
	p.T.Helper()
	deadline := time.Now().Add(waitDeadline)
	got := p.Rows(to)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ; got != want; got = p.Rows(to) {
		if time.Now().After(deadline) {
			p.T.Fatalf("events of %s: %s\nwant: %s\n%s: %s", to, got, want, p.Eval(fmt.Sprintf("document.querySelector(%q).innerText", "#pane-"+p.Name+" .status")),
				p.Eval(fmt.Sprintf("document.querySelector(%q).innerText", p.Part("frames"))))
		}
		<-tick.C
	}
}
