// Package pagetest drives the playground in a real browser.
package pagetest

import (
	"context"
	"fmt"
	"os/exec"
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

// Visitor drives the page in a real browser.
type Visitor struct {
	T   *testing.T // the present test
	ctx context.Context
}

// New starts Chromium; everything that it started has ended when the test has.
func New(t *testing.T) *Visitor {
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
	return &Visitor{t, ctx}
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

// Click clicks what can be clicked.
func (v *Visitor) Click(selector string) {
	v.T.Helper()
	v.Run(chromedp.Click(selector, chromedp.ByQuery, chromedp.NodeEnabled))
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
		v.T.Fatalf("waited for: %s: %v\nstatus: %s\nnewest frames:\n%s", expression, err,
			v.Eval(`document.getElementById("status").innerText`),
			v.Eval(`[...document.querySelectorAll("#frames li")].slice(0, 20).map(li => li.innerText.replaceAll("\n", " ")).join("\n")`))
	}
}

// State waits for the state of the connection.
func (v *Visitor) State(name string) {
	v.T.Helper()
	v.Wait(fmt.Sprintf("document.body.dataset.state === %q", name))
}

// Rows gives the data of the events shown for a target, oldest first, with what is noted beside their type.
func (v *Visitor) Rows(to string) string {
	v.T.Helper()
	return v.Eval(fmt.Sprintf(`[...document.querySelectorAll("#frames li[data-type=event]")].reverse()
		.filter(li => li.querySelector(".to").textContent === %q)
		.map(li => [li.querySelector(".data").textContent, ...[...li.querySelectorAll("em")].map(e => e.textContent)].join(" ")).join(", ")`, to))
}

// WaitRows waits until Rows are these.
func (v *Visitor) WaitRows(to, want string) {
	v.T.Helper()
	deadline := time.Now().Add(waitDeadline)
	got := v.Rows(to)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ; got != want; got = v.Rows(to) {
		if time.Now().After(deadline) {
			v.T.Fatalf("events of %s: %s\nwant: %s", to, got, want)
		}
		<-tick.C
	}
}
