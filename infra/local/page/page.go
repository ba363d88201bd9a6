// Package page is the playground of sluice-local: one HTML page that connects, shows every frame as it
// arrives, subscribes, publishes, disconnects and resumes. It has no build step and loads nothing from elsewhere.
//
//	page.go     the handler and its headers
//	index.html  the page; a template only for the address of Redis
//	page.js     the client: connection, positions, frames
//	page.css    light and dark, laptop and phone
package page

import (
	"bytes"
	_ "embed"
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
	//go:embed page.js
	pageJS []byte
	//go:embed page.css
	pageCSS []byte

	index = template.Must(template.New("index").Parse(indexHTML))

	// plainHost is a host, perhaps with a port, that can stand in a policy as it is. Go's server also lets
	// through hosts with ';' or '*', which would add to the policy.
	plainHost = regexp.MustCompile(`^[A-Za-z0-9._\-\[\]:]+$`)
)

// Handler serves the playground at / and answers 404 to every other path but its script and its style sheet.
// The page opens its WebSocket at /v1/ws on the host that it came from, so the gateway belongs on the same listener.
// redisURL is what the page's redis-cli lines name: a password in it is masked, options after "?" are left
// out, and of several addresses the first is shown. If none can be read, the lines name no address.
func Handler(redisURL string) http.Handler {
	var html bytes.Buffer
	if err := index.Execute(&html, shownAddress(redisURL)); err != nil {
		panic(fmt.Sprintf("page: index.html, which is part of this program, cannot be rendered: %v", err))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", static("text/html; charset=utf-8", html.Bytes()))
	mux.HandleFunc("GET /page.js", static("text/javascript; charset=utf-8", pageJS))
	mux.HandleFunc("GET /page.css", static("text/css; charset=utf-8", pageCSS))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy(r.Host))
		h.Set("Cache-Control", "no-store") // the next build's page must not speak with this build's script
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		mux.ServeHTTP(w, r)
	})
}

// policy allows the page's own files and its own WebSocket, nothing else. Trusted Types make the browser refuse
// innerHTML, so data from an event can only ever become text.
func policy(host string) string {
	connect := "'self'"
	// By CSP level 3 'self' covers ws: on the same host; not all browsers follow, so it is said once more.
	if plainHost.MatchString(host) {
		connect += " ws://" + host + " wss://" + host
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
