package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"sluice/shared/wire"
)

// message is one message on a gateway's channel: a batch with its records, or beats,
// or acks, or redeliveries, or orders, or a heartbeat.
type message struct {
	name    string
	head    wire.Head
	records []wire.Record
	beats   []wire.Head
	acked   []wire.Ack
	again   []wire.Redelivery
	orders  []wire.Order
	nonce   uint64
}

func (m *message) bytes() []byte {
	switch {
	case m.beats != nil:
		return wire.AppendBeats(nil, m.beats)
	case m.acked != nil:
		return wire.AppendAcked(nil, m.acked)
	case m.again != nil:
		return wire.AppendRedeliver(nil, m.again)
	case m.orders != nil:
		return wire.AppendOrders(nil, m.orders)
	case m.nonce != 0:
		return wire.AppendHeartbeat(nil, m.nonce)
	}
	b := wire.AppendHead(nil, m.head)
	for i := range m.records {
		b = wire.AppendRecord(b, &m.records[i])
	}
	return b
}

func textFrame(payload string) []byte { return wire.AppendText(nil, []byte(payload)) }

var (
	retained = wire.Record{
		Kind: wire.RecEvent, To: "topic:room-1", ID: id(1701, 3), Prev: id(1700, 0), Except: "K3YB", Frame: textFrame(`{"type":"event"}`),
	}
	first = wire.Record{
		Kind: wire.RecEvent, To: "topic:room-1", ID: id(1701, 3), Prev: id(1700, 0), First: true, Frame: textFrame(`{"type":"event"}`),
	}
	live      = wire.Record{Kind: wire.RecLive, To: "all", ID: id(1702, 0), Frame: textFrame(`{}`)}
	published = wire.Record{Kind: wire.RecPublished, Conn: "K3YB", Ref: "p 1", To: "user:alice", ID: id(1703, 0)}
	duplicate = wire.Record{Kind: wire.RecPublished, Conn: "K3YB", To: "user:alice", ID: id(1703, 0), Duplicate: true}
	kicked    = wire.Record{Kind: wire.RecKick, Kick: &wire.Kick{User: "alice", Device: "phone-1", Conn: "K3YB", Reason: "é", At: 1704}}
	refused   = wire.Record{Kind: wire.RecRefused, Conn: "K3YB", Ref: "é", Code: wire.CodeBadRequest}
)

var messages = []message{
	{name: "batch of nothing", head: wire.Head{Partition: 0, Epoch: 1, Seq: 1}},
	{name: "retained event", head: wire.Head{Partition: 15, Epoch: 3, Seq: 300}, records: []wire.Record{retained}},
	{name: "event of a history that begins again", head: wire.Head{Partition: 15, Epoch: 3, Seq: 301}, records: []wire.Record{first}},
	{name: "live-only event", head: wire.Head{Partition: 1, Epoch: 1, Seq: 2}, records: []wire.Record{live}},
	{name: "published", head: wire.Head{Partition: 1, Epoch: 1, Seq: 3}, records: []wire.Record{published}},
	{name: "published as a duplicate", head: wire.Head{Partition: 1, Epoch: 1, Seq: 3}, records: []wire.Record{duplicate}},
	{name: "publish refused", head: wire.Head{Partition: 1, Epoch: 1, Seq: 4}, records: []wire.Record{refused}},
	{name: "kick", head: wire.Head{Partition: 1, Epoch: 1, Seq: 5}, records: []wire.Record{kicked}},
	{name: "kick of all", head: wire.Head{Partition: 1, Epoch: 1, Seq: 6}, records: []wire.Record{{Kind: wire.RecKick, Kick: &wire.Kick{User: "alice"}}}},
	{name: "all kinds, and the largest numbers", head: wire.Head{Partition: 65535, Epoch: maxUint, Seq: maxUint}, records: []wire.Record{
		retained, live, published, duplicate, refused, kicked,
		{Kind: wire.RecEvent, To: "all", ID: wire.MaxID, Prev: wire.MaxID, Frame: textFrame("")},
		{Kind: wire.RecRefused},
	}},
	{name: "beats", beats: []wire.Head{{Partition: 3, Epoch: 9, Seq: 1}, {Partition: 65535, Epoch: 1, Seq: 1 << 40}}},
	{name: "acked", acked: []wire.Ack{
		{User: "alice", Device: "phone-1", To: "topic:room-1", ID: id(1701, 3)}, {User: "bob", Device: "b", To: "all", ID: wire.MaxID},
	}},
	{name: "redeliver", again: []wire.Redelivery{{Conn: "K3YB", To: "topic:room-1"}, {Conn: "QW2N", To: "all", Last: true}}},
	{name: "orders", orders: []wire.Order{
		{Conn: "K3YB", What: wire.OrderReply, Ref: "r 1", ID: "call:alice 7", Text: `{"a":1}`}, {Conn: "K3YB", What: wire.OrderFail, ID: "call:alice 8", Text: wire.CodeUnavailable},
		{Conn: "K3YB", What: wire.OrderSubscribe, Text: "topic:room-1"}, {Conn: "K3YB", What: wire.OrderUnsubscribe, Text: "topic:room-2"},
		{Conn: "QW2N", What: wire.OrderClose, Text: "é", Number: 4000},
	}},
	{name: "heartbeat", nonce: 1 << 33},
}

type recordFile struct {
	About    string         `json:"about"`
	Messages []recordGolden `json:"messages"`
}

type recordGolden struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
}

const aboutRecords = "Messages on a gateway's channel, in hex. Gateways and workers of different versions must agree on every byte."

func TestRecordsGolden(t *testing.T) {
	made := recordFile{About: aboutRecords}
	for _, m := range messages {
		made.Messages = append(made.Messages, recordGolden{m.name, hex.EncodeToString(m.bytes())})
	}
	if *update {
		writeGolden(t, "records.json", made)
	}
	var want recordFile
	readGolden(t, "records.json", &want)
	if want.About != made.About || len(want.Messages) != len(made.Messages) {
		t.Fatalf("%d messages, the golden file has %d or another text about them", len(made.Messages), len(want.Messages))
	}
	for i, got := range made.Messages {
		if got != want.Messages[i] {
			t.Errorf("got  %+v\nwant %+v", got, want.Messages[i])
		}
	}
}

// readAll reads a message to its end, or to what cannot be read.
func readAll(payload string) (m wire.Message, records []wire.Record, err error) {
	if m, err = wire.ParseMessage(payload); err != nil {
		return m, nil, err
	}
	for {
		var r wire.Record
		ok, err := m.Next(&r)
		if !ok {
			return m, records, err
		}
		records = append(records, r)
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	for _, want := range messages {
		m, records, err := readAll(string(want.bytes()))
		if err != nil || m.Head != want.head || m.Nonce != want.nonce || m.Heartbeat != (want.nonce != 0) ||
			!reflect.DeepEqual(m.Beats, want.beats) || !reflect.DeepEqual(m.Acked, want.acked) || !reflect.DeepEqual(m.Redeliver, want.again) || !reflect.DeepEqual(m.Orders, want.orders) || !reflect.DeepEqual(records, want.records) {
			t.Errorf("%s: got %+v, %+v, %v", want.name, m, records, err)
		}
	}
}

// A message that was cut off anywhere is never taken for a whole one: what is left is
// an error, or ends exactly between two records.
func TestRecordsTruncated(t *testing.T) {
	for _, whole := range messages {
		b := whole.bytes()
		ends := map[int]int{} // where the message may end, and the records until there
		if whole.beats == nil && whole.acked == nil && whole.again == nil && whole.orders == nil && whole.nonce == 0 {
			cut := whole
			for n := range whole.records {
				cut.records = whole.records[:n]
				ends[len(cut.bytes())] = n
			}
		}
		for n := range whole.beats {
			cut := message{beats: whole.beats[:n]}
			if n > 0 {
				ends[len(cut.bytes())] = 0
			}
		}
		for n := range whole.acked {
			cut := message{acked: whole.acked[:n]}
			if n > 0 {
				ends[len(cut.bytes())] = 0
			}
		}
		for n := range whole.orders {
			cut := message{orders: whole.orders[:n]}
			if n > 0 {
				ends[len(cut.bytes())] = 0
			}
		}
		for n := range whole.again {
			cut := message{again: whole.again[:n]}
			if n > 0 {
				ends[len(cut.bytes())] = 0
			}
		}
		for n := range b {
			_, records, err := readAll(string(b[:n]))
			count, fine := ends[n]
			if fine != (err == nil) || (fine && len(records) != count) {
				t.Errorf("%s, %d of %d bytes: %d records, %v", whole.name, n, len(b), len(records), err)
			}
			if err != nil && !errors.Is(err, wire.ErrRecord) {
				t.Errorf("%s, %d of %d bytes: %v is not ErrRecord", whole.name, n, len(b), err)
			}
			if !reflect.DeepEqual(records, whole.records[:len(records):len(records)]) && len(records) > 0 {
				t.Errorf("%s, %d of %d bytes: other records: %+v", whole.name, n, len(b), records)
			}
		}
	}
}

func TestRecordsRefused(t *testing.T) {
	head := string(wire.AppendHead(nil, wire.Head{Partition: 1, Epoch: 1, Seq: 1}))
	event := func(frame string) string {
		r := retained
		r.Frame = []byte(frame)
		return head + string(wire.AppendRecord(nil, &r))
	}
	for name, payload := range map[string]string{
		"empty":                             "",
		"another kind":                      "Z\x01\x01\x01",
		"JSON":                              `{"type":"event"}`,
		"beat of nothing":                   "S",
		"redelivery of nothing":             "D",
		"orders of nothing":                 "F",
		"an order of another kind":          "F\x01cz\x00\x00\x00\x00",
		"redelivery without flags":          "D\x01c\x03all",
		"heartbeat with a record behind":    "H\x01x\x00\x00\x00",
		"varint without end":                "H" + strings.Repeat("\x80", 20),
		"varint above 64 bits":              "H\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"partition that crc16 cannot give":  "B\x80\x80\x04\x01\x01",
		"partition above an int":            "B\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x01",
		"record of another kind":            head + "z",
		"text longer than the message":      head + "x\x7fabc",
		"text of the largest length":        head + "x\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01abc",
		"no frame":                          event(""),
		"frame of one byte":                 event("\x81"),
		"binary frame":                      event("\x82\x01x"),
		"fragment":                          event("\x01\x01x"),
		"masked frame":                      event("\x81\x81abcdx"),
		"masked frame, by its length none":  event("\x81\x80" + strings.Repeat("x", 128)),
		"frame shorter than it says":        event("\x81\x02x"),
		"frame longer than it says":         event("\x81\x01xy"),
		"two frames":                        event("\x81\x01x\x81\x01y"),
		"16 bits without length":            event("\x81\x7e\x00"),
		"16 bits for a short one":           event("\x81\x7e\x00\x01x"),
		"16 bits, shorter than it says":     event("\x81\x7e\x00\x81" + strings.Repeat("x", 128)),
		"64 bits without length":            event("\x81\x7f\x00\x00\x00\x00\x00\x01\x00"),
		"64 bits for a short one":           event("\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x80" + strings.Repeat("x", 128)),
		"64 bits, shorter than it says":     event("\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x01" + strings.Repeat("x", 1<<16)),
		"64 bits, far shorter than it says": event("\x81\x7f\x80\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("x", 1<<16)),
	} {
		if _, records, err := readAll(payload); !errors.Is(err, wire.ErrRecord) || len(records) > 0 {
			t.Errorf("%s: got %+v, %v, want ErrRecord", name, records, err)
		}
	}
}

// After an error there is nothing more, and what was read before it holds.
func TestRecordsAfterAnError(t *testing.T) {
	b := wire.AppendRecord(wire.AppendHead(nil, wire.Head{Partition: 1, Epoch: 1, Seq: 1}), &published)
	m, err := wire.ParseMessage(string(b) + "z" + string(wire.AppendRecord(nil, &refused)))
	if err != nil {
		t.Fatal(err)
	}
	var r wire.Record
	if ok, err := m.Next(&r); !ok || err != nil || !reflect.DeepEqual(r, published) {
		t.Fatalf("got %+v, %v, %v", r, ok, err)
	}
	if ok, err := m.Next(&r); ok || !errors.Is(err, wire.ErrRecord) {
		t.Errorf("got %v, %v, want ErrRecord", ok, err)
	}
	if ok, err := m.Next(&r); ok || err != nil {
		t.Errorf("got %v, %v after the error", ok, err)
	}
}

// Flags that this version does not know do not hide the one that it knows.
func TestPublishedFlags(t *testing.T) {
	b := wire.AppendRecord(wire.AppendHead(nil, wire.Head{}), &published)
	for flags, want := range map[byte]bool{0: false, 1: true, 2: false, 3: true} {
		b[len(b)-1] = flags
		if _, records, err := readAll(string(b)); err != nil || records[0].Duplicate != want {
			t.Errorf("flags %d: got %+v, %v", flags, records, err)
		}
	}
}

func TestReply(t *testing.T) {
	longest := wire.Reply{Server: strings.Repeat("s", 128), Conn: strings.Repeat("c", 128), Ref: strings.Repeat("😀", wire.MaxRef)}
	for _, r := range []wire.Reply{
		{Server: "gw-1", Conn: "K3YB", Ref: "r1"},
		{Server: "gw-1", Conn: "K3YB"},
		{Server: "gw-1", Conn: "K3YB", Ref: "a b  c "},
		{Server: "gw-1", Conn: "K3YB", Ref: " \x00\n"},
		longest,
	} {
		if got, ok := wire.ParseReply(r.String()); !ok || got != r {
			t.Errorf("%q: got %+v, %v", r, got, ok)
		}
	}
	for _, s := range []string{"", " ", "  ", "gw-1", "gw-1 K3YB", "gw-1  r1", " K3YB r1", "gw-1 K3YB " + strings.Repeat("r", 1000)} {
		if got, ok := wire.ParseReply(s); ok || got != (wire.Reply{}) {
			t.Errorf("%q: got %+v, %v", s, got, ok)
		}
	}
}

// Frames are written to many sockets at once: they must not share memory that a
// later record overwrites.
func TestRecordsShareTheMessage(t *testing.T) {
	a, b := retained, retained
	a.Frame, b.Frame = textFrame("first"), textFrame("second")
	payload := string(wire.AppendRecord(wire.AppendRecord(wire.AppendHead(nil, wire.Head{}), &a), &b))
	m, err := wire.ParseMessage(payload)
	if err != nil {
		t.Fatal(err)
	}
	var r wire.Record
	var frames [][]byte
	for ok := true; ok; {
		if ok, err = m.Next(&r); ok {
			frames = append(frames, r.Frame)
		}
	}
	if err != nil || len(frames) != 2 || !bytes.Equal(frames[0], a.Frame) || !bytes.Equal(frames[1], b.Frame) {
		t.Errorf("got %q, %v", frames, err)
	}
}
