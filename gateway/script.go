package gateway

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // the documents
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"time"
)

//go:generate gzip -9nkf openapi.json asyncapi.json

var (
	//go:embed openapi.json.gz
	openAPI []byte
	//go:embed asyncapi.json.gz
	asyncAPI []byte
)

// documents describe for programs the requests that gateways answer (OpenAPI 3), and their frames (AsyncAPI 3); compressed by
// gzip, by path.
var documents = map[string][]byte{"/v1/openapi.json": openAPI, "/v1/asyncapi.json": asyncAPI}

// script serves a module of the JavaScript client that speaks with this version; compressed is by gzip.
func script(compressed []byte) http.HandlerFunc {
	return static("text/javascript; charset=utf-8", compressed)
}

// static serves what is the same for everybody: compressed, which is by gzip, as it is to whoever accepts that. Pages of every
// origin may have it: it holds no secret, and whether they may connect is asked when they do.
func static(contentType string, compressed []byte) http.HandlerFunc {
	sum := sha256.Sum256(compressed)
	tag := hex.EncodeToString(sum[:16])
	return func(w http.ResponseWriter, r *http.Request) {
		text, etag := compressed, `"`+tag+`-gzip"`
		h := w.Header()
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
		} else {
			text, etag = decompressed(compressed), `"`+tag+`"`
		}
		h.Set("Content-Type", contentType)
		h.Set("ETag", etag)
		h.Set("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "no-cache") // may be kept, but is asked for: the next version has the same name
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	}
}

// acceptsGzip tells whether a request names gzip in Accept-Encoding, and not with the weight 0 (RFC 9110, 12.5.3).
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header["Accept-Encoding"], ","), ",") {
		name, weight, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(coding, " ", "")), ";")
		if name == "gzip" {
			return strings.Trim(strings.TrimPrefix(weight, "q="), "0.") != "" || weight == ""
		}
	}
	return false
}

// decompressed is of what was compressed when this program was made, so there is no error.
func decompressed(compressed []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(r)
	return text
}
