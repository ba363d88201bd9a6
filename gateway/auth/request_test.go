package auth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

type header = http.Header

const protocolHeader = "Sec-Websocket-Protocol"

func TestFromRequest(t *testing.T) {
	encoded := func(token string) string {
		return tokenSubprotocol + base64.RawURLEncoding.EncodeToString([]byte(token))
	}
	tests := []struct {
		name   string
		header header
		query  string
		token  string
		found  bool
	}{
		{"nothing", nil, "", "", false},
		{"only other things", header{"Authorization": {"Basic YTpi"}, protocolHeader: {"sluice.v1.json"}}, "topics=a&tokens=b", "", false},

		{"bearer", header{"Authorization": {"Bearer abc"}}, "", "abc", true},
		{"bearer in other case", header{"Authorization": {"bEARER abc"}}, "", "abc", true},
		{"bearer with more spaces", header{"Authorization": {"Bearer   abc "}}, "", "abc", true},
		{"bearer without token", header{"Authorization": {"Bearer"}}, "token=q", "", true},
		{"bearer with empty token", header{"Authorization": {"Bearer "}}, "token=q", "", true},
		{"a scheme that begins with Bearer", header{"Authorization": {"Bearerx abc"}}, "", "", false},
		{"basic, then bearer", header{"Authorization": {"Basic YTpi", "Bearer abc"}}, "", "abc", true},
		{"basic of a proxy, and query", header{"Authorization": {"Basic YTpi"}}, "token=q", "q", true},

		{"subprotocol", header{protocolHeader: {encoded("abc")}}, "", "abc", true},
		{"subprotocol in a list", header{protocolHeader: {"sluice.v1.json,\t" + encoded("abc") + " , other"}}, "", "abc", true},
		{"subprotocol in a second header", header{protocolHeader: {"sluice.v1.json", encoded("abc")}}, "", "abc", true},
		{"two token subprotocols", header{protocolHeader: {encoded("abc") + "," + encoded("def")}}, "", "abc", true},
		{"with - and _", header{protocolHeader: {tokenSubprotocol + "-_-_"}}, "", "\xfb\xff\xbf", true},
		{"with padding", header{protocolHeader: {tokenSubprotocol + "YWI="}}, "token=q", "", true},
		{"standard alphabet", header{protocolHeader: {tokenSubprotocol + "+/+/"}}, "token=q", "", true},
		{"bits left over", header{protocolHeader: {tokenSubprotocol + "YWJ"}}, "token=q", "", true},
		{"broken after some good part", header{protocolHeader: {tokenSubprotocol + "YWJjYWJj!"}}, "token=q", "", true},
		{"empty", header{protocolHeader: {tokenSubprotocol}}, "token=q", "", true},
		{"no dot", header{protocolHeader: {"sluice.token"}}, "", "", false},
		{"other case", header{protocolHeader: {"Sluice.Token.YWJj"}}, "", "", false},

		{"query", nil, "token=abc", "abc", true},
		{"query, escaped", nil, "topics=x&token=dev%3Aalice", "dev:alice", true},
		{"query, twice", nil, "token=a&token=b", "a", true},
		{"query, empty", nil, "token=", "", true},
		{"query, bare", nil, "token", "", true},

		{"bearer before subprotocol before query", header{"Authorization": {"Bearer a"}, protocolHeader: {encoded("b")}}, "token=c", "a", true},
		{"subprotocol before query", header{protocolHeader: {encoded("b")}}, "token=c", "b", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: tt.header, URL: &url.URL{RawQuery: tt.query}}
			if token, found := FromRequest(r); token != tt.token || found != tt.found {
				t.Errorf("got %q, %t; want %q, %t", token, found, tt.token, tt.found)
			}
		})
	}
}

func TestSubprotocol(t *testing.T) {
	tests := []struct {
		offered []string
		want    string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"sluice.v1.json"}, "sluice.v1.json"},
		{[]string{"sluice.token.YWJj, sluice.v1.json"}, "sluice.v1.json"},
		{[]string{"sluice.token.YWJj", "graphql-ws,\tsluice.v1.json"}, "sluice.v1.json"},
		{[]string{"sluice.token.YWJj"}, ""},
		{[]string{"sluice.v2.json, SLUICE.V1.JSON, sluice.v1.jsonx"}, ""},
	}
	for _, tt := range tests {
		r := &http.Request{Header: header{protocolHeader: tt.offered}}
		if got := Subprotocol(r); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.offered, got, tt.want)
		}
	}
}

func FuzzFromRequest(f *testing.F) {
	f.Add("Bearer abc", "sluice.v1.json, sluice.token.YWJj", "token=abc")
	f.Add("bearer", "sluice.token.", "token=%zz&token")
	f.Add("Basic YTpi", "sluice.token.!!,sluice.token.YWJj", "topics=a;token=b")
	f.Add("", ",,\t,", "")
	f.Fuzz(func(t *testing.T, authorization, protocols, query string) {
		r := &http.Request{Header: header{"Authorization": {authorization}, protocolHeader: {protocols}}, URL: &url.URL{RawQuery: query}}
		token, found := FromRequest(r)
		if token != "" && !found {
			t.Errorf("token %q, but not found", token)
		}
		if echo := Subprotocol(r); echo != "" && (echo != subprotocol || !strings.Contains(protocols, echo)) {
			t.Errorf("echoes %q, which is not to be or was not offered", echo)
		}
		// Whatever else a client sends, a token in the first place counts.
		r.Header.Set("Authorization", "Bearer first")
		if token, found := FromRequest(r); token != "first" || !found {
			t.Errorf("bearer token: got %q, %t", token, found)
		}
		// And any token comes through as a subprotocol.
		r.Header = header{protocolHeader: {tokenSubprotocol + base64.RawURLEncoding.EncodeToString([]byte(query))}}
		if token, found := FromRequest(r); token != query || !found {
			t.Errorf("subprotocol token: got %q, %t, want %q", token, found, query)
		}
	})
}
