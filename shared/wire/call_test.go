package wire_test

import (
	"reflect"
	"strings"
	"testing"

	"sluice/shared/wire"
)

func callFields(c *wire.Call) map[string]any {
	fields := make(map[string]any)
	all := c.Fields()
	for i := 0; i < len(all); i += 2 {
		fields[all[i]] = all[i+1]
	}
	return fields
}

var goodCalls = []wire.Call{
	{Kind: wire.ConnectedKind, ID: wire.ConnectedID("c1"), User: "alice", Conn: "c1", Server: "g1", Device: "phone", Transport: "ws", Seq: 1},
	{Kind: wire.CallKind, ID: wire.CallID("alice", "k 1"), User: "alice", Conn: "c1", Server: "g1", Transport: "sse", Seq: 2, Ref: "é", Name: "chat.say", Data: `{"a":1}`, Trace: "00-1"},
	{Kind: wire.CallKind, ID: "x", User: "a:b@c", Conn: "c1", Server: "g1", Seq: 1 << 52, Name: "n"},
	{Kind: wire.DisconnectedKind, ID: wire.DisconnectedID("c1"), User: "alice", Conn: "c1", Server: "g1", Transport: "ws", Seq: 3, Cause: wire.CauseLost},
	{Kind: wire.OnlineKind, ID: "online:c1", User: "alice", Seq: 1},
	{Kind: wire.OfflineKind, ID: "offline:c1", User: "alice", Seq: 2},
	{Kind: wire.UnreadKind, ID: wire.UnreadID("alice", wire.ID{Ms: 5, Seq: 1}), User: "alice", Seq: 1, Event: wire.ID{Ms: 5, Seq: 1}},
	{Due: &wire.Due{Of: wire.ID{Ms: 5, Seq: 1}, Tries: 3, Since: 17}},
}

// What functions are to hear is the same from the gateway to the worker.
func TestCall(t *testing.T) {
	t.Parallel()
	for i := range goodCalls {
		if got, ok := wire.ParseCall(callFields(&goodCalls[i])); !ok || !reflect.DeepEqual(got, goodCalls[i]) {
			t.Errorf("got %+v, %v, want %+v", got, ok, goodCalls[i])
		}
	}
	for name, spoil := range map[string]func(map[string]any){
		"no kind":                func(f map[string]any) { delete(f, "kind") },
		"another kind":           func(f map[string]any) { f["kind"] = "other" },
		"no id":                  func(f map[string]any) { delete(f, "id") },
		"a long id":              func(f map[string]any) { f["id"] = strings.Repeat("x", 500) },
		"no user":                func(f map[string]any) { delete(f, "user") },
		"a user with a space":    func(f map[string]any) { f["user"] = "a b" },
		"a device with a space":  func(f map[string]any) { f["device"] = "a b" },
		"a number that is none":  func(f map[string]any) { f["seq"] = "-1" },
		"a number beyond others": func(f map[string]any) { f["seq"] = "9007199254740993" },
		"no name":                func(f map[string]any) { delete(f, "name") },
		"a long name":            func(f map[string]any) { f["name"] = strings.Repeat("x", wire.MaxCallName+1) },
		"data that is no JSON":   func(f map[string]any) { f["data"] = "{" },
		"data that is no text":   func(f map[string]any) { f["data"] = "\"\xff\"" },
	} {
		fields := callFields(&goodCalls[1])
		if spoil(fields); fields != nil {
			if got, ok := wire.ParseCall(fields); ok {
				t.Errorf("%s: taken as %+v", name, got)
			}
		}
	}
	fields := callFields(&wire.Call{Kind: wire.UnreadKind, ID: "unread:a 5", User: "alice", Seq: 1})
	fields["event"] = "x"
	if got, ok := wire.ParseCall(fields); ok {
		t.Errorf("of an event that is none: taken as %+v", got)
	}
	if wire.CallKey(wire.CallID("alice", "k 1")) != "k 1" {
		t.Error("the key of a call's id is not the one it was made of")
	}
}

func FuzzParseCall(f *testing.F) {
	for i := range goodCalls {
		fields := callFields(&goodCalls[i])
		get := func(name string) string { s, _ := fields[name].(string); return s }
		f.Add(get("kind"), get("id"), get("user"), get("seq"), get("name"), get("data"), get("of"), get("tries"))
	}
	f.Fuzz(func(t *testing.T, kind, id, user, seq, name, data, of, tries string) {
		c, ok := wire.ParseCall(map[string]any{
			"kind": kind, "id": id, "user": user, "seq": seq, "name": name, "data": data, "conn": "c", "server": "g", "cause": wire.CauseClosed,
			"of": of, "tries": tries, "since": "1",
		})
		if !ok {
			return
		}
		if again, ok := wire.ParseCall(callFields(&c)); !ok || again.Seq != c.Seq || again.ID != c.ID || again.Name != c.Name || again.Data != c.Data {
			t.Errorf("got %+v, %v, want %+v", again, ok, c)
		}
	})
}

func TestParseCallBody(t *testing.T) {
	t.Parallel()
	for body, key := range map[string]string{`{"name":"n","data":null,"id":"k"}`: "", `{"name":"n","data":null}`: "k", `{"id":"k","name":"n","data":null,"x":1}`: "k"} {
		if f, err := wire.ParseCallBody([]byte(body), key); err != nil || f.Name != "n" || f.ID != "k" || string(f.Data) != "null" {
			t.Errorf("%s: %+v, %v", body, f, err)
		}
	}
	for _, body := range []string{"", "[]", "{", `{}`, `{"name":null}`, `{"name":1}`, `{"name":"n","name":"m"}`, `{"name":"n","id":"j"}`, `{"name":"n","data":"\ud800"}`, "{\"name\":\"\xff\"}"} {
		if f, err := wire.ParseCallBody([]byte(body), "k"); err == nil {
			t.Errorf("%q: taken as %+v", body, f)
		}
	}
}

func FuzzParseCallBody(f *testing.F) {
	f.Add([]byte(`{"name":"n","data":{"a":[1]},"id":"k"}`), "k")
	f.Add([]byte(` `), "")
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		if f, err := wire.ParseCallBody(body, key); err == nil && (f.Name == "" || len(f.Name) > wire.MaxCallName || len(f.ID) > wire.MaxCallID) {
			t.Errorf("taken: %+v", f)
		}
	})
}
