package wire_test

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/shared/wire"
)

// TestParsePosts: the forms of a body, and what is told of one event or of the whole.
func TestParsePosts(t *testing.T) {
	const cloud = `"specversion":"1.0","id":"7","source":"/shop","type":"order.paid","subject":"topic:a"`
	many := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"to":"all","data":1},`, n), ",") + "]"
	}
	targets := func(n int) string {
		return `{"data":1,"to":[` + strings.TrimSuffix(strings.Repeat(`"all",`, n), ",") + "]}"
	}
	for _, tc := range []struct {
		name, form, body, key string
		want                  []wire.Post
		several               bool
		err                   string
	}{
		{name: "one", body: ` {"to":"all","data":{"a":1},"event":"e","id":"k","retain":0,"except":"c","from":"user:x","control":"kick","type":"x"} `,
			want: []wire.Post{{Publish: wire.Publish{To: "all", Data: `{"a":1}`, Event: "e", ID: "k", Live: true, Except: "c"}}}},
		{name: "null is data", body: `{"to":"all","data":null}`, want: []wire.Post{{Publish: wire.Publish{To: "all", Data: "null"}}}},
		{name: "a list of targets", body: `{"to":["all","topic:b","bad"],"data":1}`, several: true, want: []wire.Post{
			{Publish: wire.Publish{To: "all", Data: "1"}}, {Publish: wire.Publish{To: "topic:b", Data: "1"}}, refusedPost("bad_request")}},
		{name: "a list of one target", body: `{"to":["all"],"data":1}`, several: true, want: []wire.Post{{Publish: wire.Publish{To: "all", Data: "1"}}}},
		{name: "an array", body: `[{"to":"all","data":1},{"to":"all"},3,{"to":["all"],"data":2}]`, several: true, want: []wire.Post{
			{Publish: wire.Publish{To: "all", Data: "1"}}, refusedPost("bad_request"), refusedPost("bad_request"), {Publish: wire.Publish{To: "all", Data: "2"}}}},
		{name: "unread", body: `{"to":["user:a","topic:b"],"data":1,"unread":"30s"}`, several: true, want: []wire.Post{
			{Publish: wire.Publish{To: "user:a", Data: "1", Unread: "30s"}}, refusedPost("bad_request")}},
		{name: "unread for no duration", body: `{"to":"user:a","data":1,"unread":"soon"}`, err: "bad_request"},
		{name: "unread for a number", body: `{"to":"user:a","data":1,"unread":30}`, err: "bad_request"},
		{name: "unread of what is live only", body: `{"to":"user:a","data":1,"unread":"30s","retain":0}`, err: "bad_request"},
		{name: "no events", body: `[]`, several: true},
		{name: "lines", form: wire.FormLines, several: true, body: "{\"to\":\"all\",\"data\":1}\r\n\n{\"to\":\n{\"to\":\"all\",\"data\":2} x\n{\"to\":\"all\",\"data\":3}", want: []wire.Post{
			{Publish: wire.Publish{To: "all", Data: "1"}}, refusedPost("bad_request"), refusedPost("bad_request"), {Publish: wire.Publish{To: "all", Data: "3"}}}},
		{name: "a key", body: `{"to":"all","data":1}`, key: "k", want: []wire.Post{{Publish: wire.Publish{To: "all", Data: "1", ID: "k"}}}},
		{name: "the same key", body: `{"to":"all","data":1,"id":"k"}`, key: "k", want: []wire.Post{{Publish: wire.Publish{To: "all", Data: "1", ID: "k"}}}},
		{name: "another key", body: `{"to":"all","data":1,"id":"k"}`, key: "j", err: "bad_request"},
		{name: "a key for several", body: `[{"to":"all","data":1}]`, key: "j", err: "bad_request"},
		{name: "a key too long", body: `{"to":"all","data":1}`, key: strings.Repeat("k", 257), err: "bad_request"},
		{name: "a thousand", body: many(1000), several: true, want: make([]wire.Post, 1000)},
		{name: "more than a thousand", body: many(1001), err: "too_large"},
		{name: "a thousand targets", body: targets(1000), several: true, want: make([]wire.Post, 1000)},
		{name: "more targets", body: targets(1001), err: "too_large"},
		{name: "more targets together", body: "[" + targets(600) + "," + targets(401) + "]", err: "too_large"},
		{name: "more lines", form: wire.FormLines, body: strings.Repeat("1\n", 1001), err: "too_large"},
		{name: "nothing", err: "bad_request"},
		{name: "a number", body: `3`, err: "bad_request"},
		{name: "trailing text", body: `{"to":"all","data":1} x`, err: "bad_request"},
		{name: "no UTF-8", body: "{\"to\":\"all\",\"data\":\"\xff\"}", err: "bad_request"},
		{name: "no target", body: `{"data":1}`, err: "bad_request"},
		{name: "an empty list", body: `{"to":[],"data":1}`, err: "bad_request"},
		{name: "a target that is none", body: `{"to":"room","data":1}`, err: "bad_request"},
		{name: "no data", body: `{"to":"all"}`, err: "bad_request"},
		{name: "twice", body: `{"to":"all","data":1,"data":2}`, err: "bad_request"},
		{name: "deep", body: `{"to":"all","data":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, err: "bad_request"},
		{name: "half a pair", body: `{"to":"all","data":"\ud800"}`, err: "bad_request"},
		{name: "half a pair in a name", body: `{"to":"all","data":1,"event":"\ud800"}`, err: "bad_request"},
		{name: "a name of ours", body: `{"to":"all","data":1,"event":"sluice.x"}`, err: "bad_request"},

		{name: "a CloudEvent", form: wire.FormCloud, body: `{` + cloud + `,"data":[1],"retain":0,"time":"x"}`,
			want: []wire.Post{{Publish: wire.Publish{To: "topic:a", Data: "[1]", Event: "order.paid", ID: "/shop 7"}}}},
		{name: "a CloudEvent of bytes", form: wire.FormCloud, body: `{` + cloud + `,"data_base64":"aGVsbG8="}`,
			want: []wire.Post{{Publish: wire.Publish{To: "topic:a", Data: "hello", Event: "order.paid", ID: "/shop 7", Base64: true}}}},
		{name: "a CloudEvent without data", form: wire.FormCloud, body: `{` + cloud + `}`,
			want: []wire.Post{{Publish: wire.Publish{To: "topic:a", Data: "null", Event: "order.paid", ID: "/shop 7"}}}},
		{name: "CloudEvents", form: wire.FormClouds, several: true, body: `[{` + cloud + `,"data":1},{"id":"x"}]`,
			want: []wire.Post{{Publish: wire.Publish{To: "topic:a", Data: "1", Event: "order.paid", ID: "/shop 7"}}, refusedPost("bad_request")}},
		{name: "one as CloudEvents", form: wire.FormClouds, body: `{` + cloud + `}`, err: "bad_request"},
		{name: "CloudEvents as one", form: wire.FormCloud, body: `[{` + cloud + `}]`, err: "bad_request"},
		{name: "both data", form: wire.FormCloud, body: `{` + cloud + `,"data":1,"data_base64":""}`, err: "bad_request"},
		{name: "no base64", form: wire.FormCloud, body: `{` + cloud + `,"data_base64":"?"}`, err: "bad_request"},
		{name: "another version", form: wire.FormCloud, body: strings.Replace(`{`+cloud+`}`, "1.0", "0.3", 1), err: "bad_request"},
		{name: "no subject", form: wire.FormCloud, body: strings.Replace(`{`+cloud+`}`, "subject", "Subject", 1), err: "bad_request"},
		{name: "no source", form: wire.FormCloud, body: strings.Replace(`{`+cloud+`}`, "/shop", "", 1), err: "bad_request"},
		{name: "no type", form: wire.FormCloud, body: strings.Replace(`{`+cloud+`}`, "order.paid", "", 1), err: "bad_request"},
		{name: "no id", form: wire.FormCloud, body: strings.Replace(`{`+cloud+`}`, `"7"`, `""`, 1), err: "bad_request"},
		{name: "id is a number", form: wire.FormCloud, body: strings.Replace(`{`+cloud+`}`, `"7"`, `7`, 1), err: "bad_request"},
		{name: "a source with a space", form: wire.FormCloud, body: strings.Replace(`{`+cloud+`}`, "/shop", "/s p", 1), err: "bad_request"},
		{name: "a CloudEvent that trails", form: wire.FormCloud, body: `{` + cloud + `}{}`, err: "bad_request"},
	} {
		posts, single, err := wire.ParsePosts(tc.form, []byte(tc.body), tc.key)
		if tc.err != "" || err != nil {
			if err == nil || err.Code != tc.err || posts != nil {
				t.Errorf("%s: got the error %v and %d events, want %s", tc.name, err, len(posts), tc.err)
			}
			continue
		}
		if single == tc.several || len(posts) != len(tc.want) {
			t.Errorf("%s: %d events, single %v, want %d", tc.name, len(posts), single, len(tc.want))
			continue
		}
		for i, p := range posts {
			switch want := tc.want[i]; {
			case want == wire.Post{}: // one of many
			case want.Err != nil:
				if p.Err == nil || p.Err.Code != want.Err.Code {
					t.Errorf("%s: number %d is %+v, want the error %s", tc.name, i, p, want.Err.Code)
				}
			case p != want:
				t.Errorf("%s: number %d is %+v, want %+v", tc.name, i, p, want)
			}
		}
	}
}

func refusedPost(code string) wire.Post { return wire.Post{Err: &wire.FrameError{Code: code}} }

// TestLongCloudEventKeys: an id and a source that are longer together than a key may be are told apart all the same.
func TestLongCloudEventKeys(t *testing.T) {
	key := func(source, id string) string {
		body := `{"specversion":"1.0","type":"t","subject":"all","source":"` + source + `","id":"` + id + `"}`
		posts, _, err := wire.ParsePosts(wire.FormCloud, []byte(body), "")
		if err != nil || len(posts[0].ID) > 256 {
			t.Fatalf("%d characters of key, %v", len(posts[0].ID), err)
		}
		return posts[0].ID
	}
	long := strings.Repeat("x", 200)
	if a, b := key("/"+long, long), key("/"+long, long+"y"); a == b || a != key("/"+long, long) {
		t.Errorf("two events have the keys %q and %q", a, b)
	}
}

// FuzzParsePosts: whatever stands in a body, what is taken of it is what a worker takes, and is not more than may be.
func FuzzParsePosts(f *testing.F) {
	forms := []string{wire.FormJSON, wire.FormLines, wire.FormCloud, wire.FormClouds}
	for i, body := range []string{
		`{"to":"all","data":1}`, `[{"to":["all","user:a"],"data":"x","retain":0}]`, `{"to":"user:a","data":1,"unread":"1s"}`, "{\"to\":\"all\",\"data\":1}\n[\n", `{"to":"all","data":"\ud800"}`, `{"to":"all","data":1}x`,
		`{"specversion":"1.0","id":"1","source":"/","type":"t","subject":"all","data_base64":"/w=="}`, `[{"specversion":"1.0"},null,[],{}]`, "\xff", `{"":{"to":1}}`, `{"to":"all","\u0064ata":1}`,
	} {
		f.Add(byte(i), []byte(body), "")
		f.Add(byte(i+1), []byte(body), "key")
	}
	f.Fuzz(func(t *testing.T, form byte, body []byte, key string) {
		posts, single, err := wire.ParsePosts(forms[int(form)%len(forms)], body, key)
		if err != nil {
			if posts != nil || wire.CodeBadRequest != err.Code && wire.CodeTooLarge != err.Code {
				t.Fatalf("%d events and the error %v", len(posts), err)
			}
			return
		}
		if single && len(posts) != 1 || len(posts) > wire.MaxPosts {
			t.Fatalf("%d events, single %v", len(posts), single)
		}
		for _, p := range posts {
			if p.Err != nil {
				continue
			}
			if !p.Base64 && !json.Valid([]byte(p.Data)) {
				t.Errorf("data is no JSON: %q", p.Data)
			}
			fields := map[string]any{"to": p.To, "data": p.Data, "event": p.Event, "id": p.ID, "except": p.Except, "unread": p.Unread}
			if p.Live {
				fields["retain"] = "0"
			}
			if p.Base64 {
				fields["enc"] = wire.EncBase64
			}
			e, reason := wire.ParseEntry(wire.ID{Ms: 1}, fields, len(body))
			if reason != "" || !utf8.ValidString(p.ID) || e.Key != p.ID {
				t.Errorf("a worker takes %+v for %q", p, reason)
			}
			if p.Base64 {
				var frame struct{ Data, Enc string }
				_ = json.Unmarshal(wire.AppendEvent(nil, &e.Event), &frame)
				if raw, err := base64.StdEncoding.DecodeString(frame.Data); err != nil || string(raw) != p.Data || frame.Enc != wire.EncBase64 {
					t.Errorf("%s arrives as %+v", strconv.Quote(p.Data), frame)
				}
			}
		}
	})
}
