package wire_test

import (
	"strings"
	"testing"

	"sluice/shared/wire"
)

// data256 is 256 bytes of JSON as services write it.
var data256 = func() string {
	const begin, end = `{"id":"9f8b5b0e-0e4b-4c58","kind":"order.paid","amount":12.50,"items":[1,2,3],"open":true,"text":"`, `"}`
	return begin + strings.Repeat("x", 256-len(begin)-len(end)) + end
}()

// BenchmarkRenderEvent is what a worker does once for each event: look at the data,
// write the frame that every socket gets.
func BenchmarkRenderEvent(b *testing.B) {
	for _, c := range []struct{ name, data string }{
		{"json", data256},
		{"text", strings.Repeat("plain text with a \"quote\" in it ", 8)},
		{"binary", strings.Repeat("\x00\xff\x80\x7f", 64)},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := event(c.data)
			var text, frame []byte
			b.ReportAllocs()
			for b.Loop() {
				e.Kind = wire.KindOf(e.Data)
				text = wire.AppendEvent(text[:0], &e)
				frame = wire.AppendText(frame[:0], text)
			}
			perSecond(b, 1, "frames/s")
		})
	}
}

// BenchmarkParseMessage is what a gateway does with a message of its channel, before
// it looks for receivers.
func BenchmarkParseMessage(b *testing.B) {
	const records = 64
	payload := batchOf(records)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if n := countRecords(payload); n != records {
			b.Fatalf("%d records, want %d", n, records)
		}
	}
	perSecond(b, records, "records/s")
}

func BenchmarkParseClientFrame(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"publish", `{"type":"publish","ref":"r-1234567","to":"topic:room-1234","data":` + data256 + `,"event":"chat.message","id":"9f8b5b0e-0e4b"}`},
		{"ping", `{"type":"ping"}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			msg := []byte(c.text)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.ParseClientFrame(msg); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, 1, "frames/s")
		})
	}
}

func perSecond(b *testing.B, each int, unit string) {
	b.ReportMetric(float64(b.N)*float64(each)/b.Elapsed().Seconds(), unit)
}

func batchOf(records int) string {
	e := event(data256)
	r := retained
	r.Frame = wire.AppendText(nil, wire.AppendEvent(nil, &e))
	b := wire.AppendHead(nil, wire.Head{Partition: 3, Epoch: 1, Seq: 1})
	for range records {
		b = wire.AppendRecord(b, &r)
	}
	return string(b)
}

func countRecords(payload string) (n int) {
	m, err := wire.ParseMessage(payload)
	if err != nil {
		return -1
	}
	var r wire.Record
	for {
		ok, err := m.Next(&r)
		if err != nil {
			return -1
		}
		if !ok {
			return n
		}
		n++
	}
}

// Once their buffers are there, the parts of the hot path allocate nothing. KindOf is
// not among them: encoding/json keeps its scanners in a pool that may be empty.
func TestNoAllocations(t *testing.T) {
	var rendered []wire.Event
	for _, c := range events {
		rendered = append(rendered, c.event)
	}
	buf, frame := make([]byte, 0, 1<<16), make([]byte, 0, 1<<16)
	payload := batchOf(8)
	fields := entryFields("event", "order.paid", "id", "key-1", "retain", "0", "except", "conn-1", "from", "user:bob")
	for name, f := range map[string]func(){
		"AppendEvent and AppendText": func() {
			for i := range rendered {
				buf = wire.AppendEvent(buf[:0], &rendered[i])
				frame = wire.AppendText(frame[:0], buf)
			}
		},
		"AppendSkip": func() { buf = wire.AppendSkip(buf[:0], "topic:room-1", id(1701, 3), id(1701, 2)) },
		"AppendHead and AppendRecord": func() {
			buf = wire.AppendHead(buf[:0], wire.Head{Partition: 1, Epoch: 1, Seq: 1})
			for _, r := range []*wire.Record{&retained, &live, &published, &refused} {
				buf = wire.AppendRecord(buf, r)
			}
		},
		"ParseMessage and Next": func() { countRecords(payload) },
		"ParseEntry":            func() { _, _ = wire.ParseEntry(id(17, 1), fields, 1<<10) },
		"ParseID":               func() { _, _ = wire.ParseID("1700000000000-7") },
		"CheckTarget":           func() { _, _ = wire.CheckTarget("topic:room-1"), wire.CheckTarget("group:x") },
		"Partition":             func() { _ = wire.Partition("topic:room-1", 16) },
	} {
		f() // buffers grow once
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
