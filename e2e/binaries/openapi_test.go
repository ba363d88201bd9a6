package binaries_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// described finds the operations of the document that gateways serve.
var described = sync.OnceValues(func() (routers.Router, error) {
	for _, form := range []string{"application/x-ndjson", "text/javascript"} {
		openapi3filter.RegisterBodyDecoder(form, openapi3filter.FileBodyDecoder)
	}
	for _, form := range []string{"application/cloudevents+json", "application/cloudevents-batch+json"} {
		openapi3filter.RegisterBodyDecoder(form, openapi3filter.JSONBodyDecoder)
	}
	doc, err := openapi3.NewLoader().LoadFromFile("../../gateway/openapi.json")
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc) // it validates the document, too
})

// mustBeDescribed fails unless the document describes the answer to a request; and the request, if it was good. Paths that are
// not in the document are answered with 404, and preflights are the Fetch standard's.
func (a answer) mustBeDescribed(t testing.TB, r *http.Request, body string) {
	t.Helper()
	router, err := described()
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	asked := r.Clone(r.Context())
	asked.URL.Scheme, asked.URL.Host = "", ""
	route, params, err := router.FindRoute(asked)
	if err != nil {
		if r.Method != http.MethodOptions && strings.HasPrefix(r.URL.Path, "/v1/") && a.status != http.StatusNotFound {
			t.Errorf("%s %s is not described, and answered with %d", r.Method, r.URL.Path, a.status)
		}
		return
	}
	asked.Body = io.NopCloser(strings.NewReader(body))
	in := &openapi3filter.RequestValidationInput{Request: asked, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true,
		ExcludeRequestBody: asked.Header.Get("Content-Type") == "", // curl says none of ours
	}}
	if a.status == http.StatusOK {
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
			t.Errorf("%s %s was good, and is not as described: %v", r.Method, r.URL, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.status, Header: a.header, Options: in.Options}
	out.SetBodyBytes([]byte(a.body))
	if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
		t.Errorf("%s %s is answered with %d %.300s, which is not as described: %v", r.Method, r.URL, a.status, a.body, err)
	}
}

// TestDocumentsForPrograms: every gateway serves them to everybody. That answers are as openapi.json says is checked for each
// request of these tests; that frames are as asyncapi.json says, by the golden frames of shared/wire and in e2e/inproc.
func TestDocumentsForPrograms(t *testing.T) {
	t.Parallel()
	g := sharedCluster(t).gateways[0]
	for _, name := range []string{"openapi.json", "asyncapi.json"} {
		got := g.request(t, "GET", "/v1/"+name, "", "Origin", "https://anywhere.example")
		if want := read(t, "../../gateway/"+name); got.status != 200 || got.body != want || got.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s is served with %d %v", name, got.status, got.header)
		}
	}
	for _, path := range []string{"/sluice.js", "/sluice-stream.js", "/sluice-tabs.js"} {
		if got := g.request(t, "GET", path, ""); got.status != 200 || !bytes.HasPrefix([]byte(got.header.Get("Content-Type")), []byte("text/javascript")) {
			t.Errorf("%s is served with %d %v", path, got.status, got.header)
		}
	}
}
