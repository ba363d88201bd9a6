package wire_test

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"testing"

	"sluice/shared/wire"
)

type serverFile struct {
	About  string        `json:"about"`
	Frames []serverFrame `json:"frames"`
}

// serverFrame is one golden frame: its JSON as it stands on the wire and, of an
// event, the producer's bytes that a client has to find in it.
type serverFrame struct {
	Name string  `json:"name"`
	Text string  `json:"text"`
	Data *string `json:"data_base64,omitempty"`
}

const aboutServer = "Frames from the server, byte for byte. data_base64: the bytes that the producer gave, where the frame is an event; " +
	"without enc they are its data as JSON text, or the text of the string that data is."

func TestServerFrames(t *testing.T) {
	made := serverFile{About: aboutServer}
	for _, c := range frames {
		made.Frames = append(made.Frames, serverFrame{Name: c.name, Text: string(wire.AppendFrame(nil, c.frame))})
	}
	for _, c := range events {
		data := base64.StdEncoding.EncodeToString([]byte(c.event.Data))
		made.Frames = append(made.Frames, serverFrame{c.name, string(wire.AppendEvent(nil, &c.event)), &data})
	}
	made.Frames = append(made.Frames, serverFrame{Name: "skip", Text: string(wire.AppendSkip(nil, "topic:room-1", id(1701, 3), id(1701, 2)))})
	if *update {
		writeGolden(t, "server_frames.json", made)
	}
	var want serverFile
	readGolden(t, "server_frames.json", &want)
	if want.About != made.About || len(want.Frames) != len(made.Frames) {
		t.Fatalf("%d frames, the golden file has %d or another text about them", len(made.Frames), len(want.Frames))
	}
	for i, got := range made.Frames {
		w := want.Frames[i]
		if !reflect.DeepEqual(got, w) {
			t.Errorf("got  %s: %s\nwant %s: %s", got.Name, got.Text, w.Name, w.Text)
		}
		if !json.Valid([]byte(got.Text)) {
			t.Errorf("%s is no JSON: %s", got.Name, got.Text)
		}
	}
}

func id(ms, seq uint64) wire.ID { return wire.ID{Ms: ms, Seq: seq} }

var frames = []struct {
	name  string
	frame wire.ServerFrame
}{
	{"welcome", wire.Welcome{
		Conn: "K3YB5QAZW2C7DLMN", Server: "gw-1-x7f2", User: "alice", PingMs: 25000,
		Limits: wire.Limits{MaxData: 65536, MaxMessage: 69632, MaxTargets: 1000},
	}},
	{"welcome with limits", wire.Welcome{
		Conn: "K3YB5QAZW2C7DLMN", Server: "gw-1-x7f2", User: "alice", PingMs: 25000,
		Limits: wire.Limits{
			MaxData: 65536, MaxMessage: 69632, MaxTargets: 1000, FrameRate: 200, UserFrameRate: 1000, PublishRate: 20, UserPublishRate: 100,
			ByteRate: 1048576, UserByteRate: 4194304, UserConnections: 100, UserTargets: 10000,
		},
	}},
	{"subscribed", wire.Subscribed{Ref: "r1", To: "topic:room-1", Position: id(1700000000000, 7), Recovered: true}},
	{"subscribed without ref, no event yet", wire.Subscribed{To: "user:alice", Recovered: true}},
	{"subscribed after a gap", wire.Subscribed{Ref: "r2", To: "topic:AZaz09._-:@/+=", Position: id(1700000000000, 0)}},
	{"unsubscribed", wire.Unsubscribed{Ref: "r3", To: "topic:room-1"}},
	{"unsubscribed by the server", wire.Unsubscribed{To: "topic:room-1"}},
	{"gap, trimmed", wire.Gap{To: "topic:room-1", After: id(1699, 1), Oldest: id(1700, 0), Position: id(1701, 3), Reason: wire.GapTrimmed}},
	{"gap, expired", wire.Gap{To: "topic:room-1", After: id(1699, 1), Reason: wire.GapExpired}},
	{"gap, unknown", wire.Gap{To: "all", After: wire.MaxID, Oldest: id(1700, 0), Position: id(1700, 0), Reason: wire.GapUnknown}},
	{"gap after the zero position", wire.Gap{To: "all", Oldest: id(1700, 0), Position: id(1700, 1), Reason: wire.GapTrimmed}},
	{"published", wire.Published{Ref: "p1", To: "topic:room-1", ID: id(1701, 3)}},
	{"published as a duplicate", wire.Published{Ref: "p2", To: "topic:room-1", ID: id(1700, 0), Duplicate: true}},
	{"published without ref", wire.Published{To: "topic:room-1", ID: id(1701, 3)}},
	{"reply", wire.Replied{Ref: "c1", ID: "k1", Data: []byte(`{"n":1}`)}},
	{"reply without data", wire.Replied{ID: "k1"}},
	{"acked", wire.Acked{To: "topic:room-1", ID: id(1701, 3), Device: "phone-1"}},
	{"authorized", wire.Authorized{Exp: 1700000060}},
	{"authorized for ever", wire.Authorized{}},
	{"error with a ref that needs escapes", wire.Error{Ref: "a\"b\\c\n\u2028 <é>😀", Code: wire.CodeBadRequest, Message: "unknown type \"dance\""}},
	{"error without ref", wire.Error{Code: wire.CodeForbidden, Message: "topic:secret: this token does not allow to subscribe to it"}},
	{"error about a target", wire.Error{To: "topic:secret", Code: wire.CodeForbidden, Message: "topic:secret: no"}},
	{"error, unauthorized", wire.Error{Code: wire.CodeUnauthorized, Message: "m"}},
	{"error, too large", wire.Error{Code: wire.CodeTooLarge, Message: "m"}},
	{"error, rate limited", wire.Error{Code: wire.CodeRateLimited, Message: "m"}},
	{"error, rate limited, with the time to wait", wire.Error{Ref: "p1", Code: wire.CodeRateLimited, Message: "m", RetryAfterMs: 50}},
	{"error, too many", wire.Error{Code: wire.CodeTooMany, Message: "m"}},
	{"error, unavailable", wire.Error{Code: wire.CodeUnavailable, Message: "m"}},
	{"pong", wire.Pong{}},
	{"goaway", wire.Goaway{AfterMs: 1500, Reason: "this gateway restarts"}},
}

func TestFrame(t *testing.T) {
	if got, want := string(wire.Frame(wire.Pong{})), "\x81\x0f"+`{"type":"pong"}`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// What is in dst already stays.
	if got, want := string(wire.AppendFrame([]byte("x"), wire.Authorized{Exp: 1})), `x{"type":"authorized","exp":1}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
