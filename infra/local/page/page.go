// Package page is the playground: one HTML page with two clients, which shows every frame as it arrives, cuts links, kills a
// gateway, and marks what comes again after that. It uses the client that gateways serve, has no build step and loads nothing
// from elsewhere.
//
//	page.go     the handler and its headers
//	index.html  the page; a template only for the address of Redis
//	page.js     gateways, sessions, the line for a terminal
//	pane.js     one client, and what is done with it
//	frames.js   the list of frames
//	page.css    light and dark, laptop and phone
package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var (
	//go:embed index.html
	indexHTML string
	//go:embed page.js pane.js frames.js page.css
	files embed.FS

	index = template.Must(template.New("index").Parse(indexHTML))

	// plainHost is a host, perhaps with a port, that can stand in a policy as it is. Go's server also lets
	// through hosts with ';' or '*', which would add to the policy.
	plainHost = regexp.MustCompile(`^[A-Za-z0-9._\-\[\]:]+$`)
)

// Options say what the page finds.
type Options struct {
	// RedisURL is what the page's redis-cli line names: a password in it is masked, options after "?" are left out, and of
	// several addresses the first is shown. If none can be read, the line names no address.
	RedisURL string
	// Second is the host and port of a second gateway, or "".
	Second string
	// Control answers what is below /playground/; nil: gateways are not the page's to kill.
	Control http.Handler
}

// Handler serves the playground at / and answers 404 to every other path but its files. The page finds a gateway on the host
// that it came from, so one belongs on the same listener.
func Handler(o Options) http.Handler {
	var html bytes.Buffer
	if err := index.Execute(&html, shownAddress(o.RedisURL)); err != nil {
		panic(fmt.Sprintf("page: index.html, which is part of this program, cannot be rendered: %v", err))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", static("text/html; charset=utf-8", html.Bytes()))
	for name, contentType := range map[string]string{
		"page.js": "text/javascript; charset=utf-8", "pane.js": "text/javascript; charset=utf-8", "frames.js": "text/javascript; charset=utf-8",
		"page.css": "text/css; charset=utf-8",
	} {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(fmt.Sprintf("page: %s, which is part of this program, cannot be read: %v", name, err))
		}
		mux.HandleFunc("GET /"+name, static(contentType, text))
	}
	if o.Control != nil {
		mux.Handle("/playground/", o.Control)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy(r.Host, o.Second))
		h.Set("Cache-Control", "no-store") // the next build's page must not speak with this build's script
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		mux.ServeHTTP(w, r)
	})
}

// policy allows the page's own files and its gateways, nothing else. Trusted Types make the browser refuse
// innerHTML, so data from an event can only ever become text.
func policy(host, second string) string {
	connect := "'self'"
	// By CSP level 3 'self' covers ws: on the same host; not all browsers follow, so it is said once more.
	if plainHost.MatchString(host) {
		connect += " ws://" + host + " wss://" + host
	}
	if second != "" {
		connect += " http://" + second + " https://" + second + " ws://" + second + " wss://" + second
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src " + connect +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
		"; require-trusted-types-for 'script'; trusted-types 'none'"
}

func static(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // fails only when the reader has gone
	}
}

// shownAddress is redisURL as anybody may see it, or "" if it is no URL: it is then not known where a
// password could stand in it.
func shownAddress(redisURL string) string {
	first, _, _ := strings.Cut(redisURL, ",")
	u, err := url.Parse(first)
	if err != nil || u.Host == "" {
		return ""
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}
