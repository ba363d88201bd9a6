package auth

import (
	"encoding/base64"
	"iter"
	"net/http"
	"strings"

	"sluice/gateway/query"
)

const (
	// subprotocol is the WebSocket subprotocol of this protocol's version.
	subprotocol = "sluice.v1.json"
	// tokenSubprotocol precedes a token in base64url without padding: browsers let a page set no header but this
	// one, and refuse other characters in it.
	tokenSubprotocol = "sluice.token."
)

// FromRequest returns the token of a handshake, the first of: Authorization: Bearer, an offered subprotocol
// sluice.token.<base64url>, and the query's token. found says whether there was one: if so, and it is unreadable or
// empty, token is "", which Verify refuses; a broken token never gives way to the next place. The query holds
// a secret, so the request's URL must not be logged.
func FromRequest(r *http.Request) (token string, found bool) {
	if token, found := Bearer(r); found {
		return token, true
	}
	for offered := range offeredSubprotocols(r) {
		if encoded, ok := strings.CutPrefix(offered, tokenSubprotocol); ok {
			// On an error DecodeString returns what it read so far; half a token is none.
			decoded, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
			if err != nil {
				return "", true
			}
			return string(decoded), true
		}
	}
	return query.Get(r.URL.RawQuery, "token")
}

// Bearer returns the token in Authorization: Bearer.
func Bearer(r *http.Request) (token string, found bool) {
	for _, value := range r.Header.Values("Authorization") {
		scheme, credentials, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			return strings.Trim(credentials, " "), true
		}
	}
	return "", false
}

// Subprotocol returns the subprotocol to echo in the answer to a handshake, "" for none. It never returns the one that
// carries the token, which an echo would show to whatever logs responses.
func Subprotocol(r *http.Request) string {
	for offered := range offeredSubprotocols(r) {
		if offered == subprotocol {
			return subprotocol
		}
	}
	return ""
}

// offeredSubprotocols goes through the client's list, which may be spread over several headers (RFC 6455, section 4.1).
func offeredSubprotocols(r *http.Request) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, value := range r.Header.Values("Sec-WebSocket-Protocol") {
			for offered := range strings.SplitSeq(value, ",") {
				if !yield(strings.Trim(offered, " \t")) {
					return
				}
			}
		}
	}
}
