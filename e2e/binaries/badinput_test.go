package binaries_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// TestBadFrames: each gets `error` `bad_request`, with the ref where there is one to read, and the connection goes on.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	s := join(t, c.gateways[0], unique("clumsy"))
	long := strings.Repeat("x", 129)
	cases := []struct{ name, text, ref string }{
		{"empty", ``, ""},
		{"not JSON", `hello`, ""},
		{"cut JSON", `{"type":"ping"`, ""},
		{"two objects", `{"type":"ping"}{"type":"ping"}`, ""},
		{"array", `[{"type":"ping"}]`, ""},
		{"string", `"ping"`, ""},
		{"null", `null`, ""},
		{"no type", `{}`, ""},
		{"type is a number", `{"type":7}`, ""},
		{"unknown type", `{"type":"dance","ref":"r1"}`, "r1"},
		{"a server's frame", `{"type":"welcome","ref":"r2"}`, "r2"},
		{"ref is a number", `{"type":"subscribe","ref":7,"to":"topic:x"}`, ""},
		{"ref too long", `{"type":"subscribe","ref":"` + strings.Repeat("r", 65) + `","to":"topic:x"}`, ""},
		{"connect again", `{"type":"connect","ref":"r3","token":"dev:x"}`, "r3"},
		{"subscribe to nothing", `{"type":"subscribe","ref":"r4"}`, "r4"},
		{"subscribe to a number", `{"type":"subscribe","to":7}`, ""},
		{"subscribe to no kind", `{"type":"subscribe","ref":"r5","to":"room"}`, "r5"},
		{"subscribe to an unknown kind", `{"type":"subscribe","ref":"r6","to":"group:x"}`, "r6"},
		{"subscribe to an empty name", `{"type":"subscribe","ref":"r7","to":"topic:"}`, "r7"},
		{"subscribe to a name with a space", `{"type":"subscribe","ref":"r8","to":"topic:a b"}`, "r8"},
		{"subscribe to a name with a letter beyond ASCII", `{"type":"subscribe","ref":"r9","to":"topic:\u00e9"}`, "r9"},
		{"subscribe to a name with a brace", `{"type":"subscribe","ref":"r10","to":"topic:{x}"}`, "r10"},
		{"subscribe to a long name", `{"type":"subscribe","ref":"r11","to":"topic:` + long + `"}`, "r11"},
		{"subscribe to all of something", `{"type":"subscribe","ref":"r12","to":"all:x"}`, "r12"},
		{"subscribe after no id", `{"type":"subscribe","ref":"r13","to":"topic:x","after":"yesterday"}`, "r13"},
		{"subscribe after half an id", `{"type":"subscribe","ref":"r14","to":"topic:x","after":"17-"}`, "r14"},
		{"subscribe after too large an id", `{"type":"subscribe","ref":"r15","to":"topic:x","after":"99999999999999999999999-0"}`, "r15"},
		{"unsubscribe from nothing", `{"type":"unsubscribe","ref":"r16"}`, "r16"},
		{"publish to nothing", `{"type":"publish","ref":"r17","data":1}`, "r17"},
		{"publish to a bad target", `{"type":"publish","ref":"r18","to":"topic:a b","data":1}`, "r18"},
		{"publish nothing", `{"type":"publish","ref":"r19","to":"topic:x"}`, "r19"},
		{"auth without a token", `{"type":"auth","ref":"r20"}`, ""}, // bad_request or unauthorized: see below
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			from := len(s.sync()) // also ends the row of bad frames
			s.sendText(tc.text)
			f := s.wait("an error", func(f frame) bool { return f.Type == "error" && f.place >= from })
			if strings.HasPrefix(tc.name, "auth") {
				if f.Code != "bad_request" && f.Code != "unauthorized" {
					t.Errorf("got %s", f)
				}
				return
			}
			s.mustError(f, "bad_request")
			if tc.ref != "" && f.Ref != tc.ref {
				t.Errorf("want the ref %s: %s", tc.ref, f)
			}
		})
	}
	s.subscribe("topic:"+strings.Repeat("x", 128), "")
	s.subscribe("topic:AZaz09._-:@/+=", "")
}

// TestBadFramesInARow: the connection bears 10 in a row, and not the next one.
func TestBadFramesInARow(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	s := join(t, c.gateways[0], unique("stubborn"))
	for range 3 {
		for range 10 {
			s.sendText(`{"type":"dance"}`)
		}
		s.sync()
	}
	s.waitErrors("bad_request", 30)
	for range 11 {
		s.sendText(`nonsense`)
	}
	s.mustClose(4500)
}

// TestClosingInput is the input that ends a connection, each with its close code; others do not notice.
func TestClosingInput(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	const data, slack = 64 << 10, 4 << 10
	other := join(t, c.gateways[0], unique("other"))
	for _, tc := range []struct {
		name string
		kind int
		text string
		code int
	}{
		{"binary", websocket.BinaryMessage, `{"type":"ping"}`, 1003},
		{"not UTF-8", websocket.TextMessage, "{\"type\":\"ping\",\"ref\":\"\xff\"}", 1007},
		{"too large", websocket.TextMessage, `{"type":"ping","x":"` + strings.Repeat("x", data+slack) + `"}`, 1009},
		{"far too large", websocket.TextMessage, strings.Repeat(" ", 1<<20), 1009},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := join(t, c.gateways[0], unique("closed"))
			s.sendMessage(tc.kind, []byte(tc.text))
			s.mustClose(tc.code)
		})
	}
	other.sync()
}

// TestTooLargeData: data above the limit within a message below its own is an error; at the limit it is an event.
func TestTooLargeData(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("large")
	s, reader := join(t, c.gateways[0], unique("author")), join(t, c.gateways[1], unique("reader"))
	reader.subscribe(topic, "")
	quoted := func(size int) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`) }
	const limit = 64 << 10
	for _, size := range []int{limit + 3, limit + 2000} { // + 3: also without the quotes above the limit
		s.mustError(s.ask(msg{"type": "publish", "to": topic, "data": quoted(size)}), "too_large")
	}
	answer := s.must(s.ask(msg{"type": "publish", "to": topic, "data": quoted(limit)}), "published")
	f := reader.waitEvents(topic, 1)[0]
	if f.ID != answer.ID || len(f.Data) != limit {
		t.Errorf("the event %s has %d bytes, published were %d as %s", f.ID, len(f.Data), limit, answer.ID)
	}
}
