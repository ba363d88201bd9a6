package wire_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/shared/wire"
)

const maxData = 64

// entryFields are a producer's fields with changes; nil takes one away.
func entryFields(changes ...any) map[string]any {
	fields := map[string]any{"to": "topic:room-1", "data": `{"hello":1}`}
	for i := 0; i < len(changes); i += 2 {
		name := changes[i].(string)
		if fields[name] = changes[i+1]; fields[name] == nil {
			delete(fields, name)
		}
	}
	return fields
}

func TestParseEntry(t *testing.T) {
	base := wire.Entry{Event: wire.Event{To: "topic:room-1", ID: id(17, 1), Data: `{"hello":1}`}}
	is := func(change func(*wire.Entry)) wire.Entry {
		e := base
		change(&e)
		return e
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name    string
		changes []any
		want    wire.Entry
	}{
		{"only what is required", nil, base},
		{"all fields", []any{
			"event", "order.paid", "id", "key-1", "retain", "0", "except", "conn-1", "from", "user:bob",
			"reply", "gw-1 conn-2 ref 3", "traceparent", "00-0af7-b7ad-01", "colour", "blue",
		}, is(func(e *wire.Entry) {
			e.Name, e.Key, e.Live, e.Except, e.From, e.Trace = "order.paid", "key-1", true, "conn-1", "user:bob", "00-0af7-b7ad-01"
			e.Reply = wire.Reply{Server: "gw-1", Conn: "conn-2", Ref: "ref 3"}
		})},
		{"empty data", []any{"data", ""}, is(func(e *wire.Entry) { e.Data = "" })},
		{"binary data", []any{"data", "\x00\xff"}, is(func(e *wire.Entry) { e.Data = "\x00\xff" })},
		{"data of the largest size", []any{"data", long(maxData)}, is(func(e *wire.Entry) { e.Data = long(maxData) })},
		{"retain false", []any{"retain", "false"}, is(func(e *wire.Entry) { e.Live = true })},
		{"retain 1", []any{"retain", "1"}, base},
		{"retain empty", []any{"retain", ""}, base},
		{"retain anything", []any{"retain", "no"}, base},
		{"empty optional fields", []any{"event", "", "id", "", "except", "", "from", "", "reply", "", "traceparent", ""}, base},
		{"names at their limits", []any{"event", long(128), "from", long(256), "id", long(256), "except", long(256), "traceparent", long(256)},
			is(func(e *wire.Entry) {
				e.Name, e.From, e.Key, e.Except, e.Trace = long(128), long(256), long(256), long(256), long(256)
			})},
		{"names beyond ASCII", []any{"event", "é😀", "from", "ü"}, is(func(e *wire.Entry) { e.Name, e.From = "é😀", "ü" })},
		{"a key of any bytes", []any{"id", "\x00\xff\n"}, is(func(e *wire.Entry) { e.Key = "\x00\xff\n" })},
		{"traceparent too long never costs the event", []any{"traceparent", long(257)}, base},
		{"reply that is none", []any{"reply", "gw-1 conn-2"}, base},
		{"unread", []any{"to", "user:a", "unread", "1m30s"}, is(func(e *wire.Entry) { e.To, e.Unread = "user:a", 90*time.Second })},
		{"unread for a second", []any{"to", "user:a", "unread", "1s"}, is(func(e *wire.Entry) { e.To, e.Unread = "user:a", time.Second })},
		{"unread for a day", []any{"to", "user:a", "unread", "24h"}, is(func(e *wire.Entry) { e.To, e.Unread = "user:a", 24*time.Hour })},
		{"unread empty", []any{"unread", ""}, base},
		{"all", []any{"to", "all"}, is(func(e *wire.Entry) { e.To = "all" })},
	} {
		got, reason := wire.ParseEntry(id(17, 1), entryFields(c.changes...), maxData)
		if reason != "" || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %q, want %+v", c.name, got, reason, c.want)
		}
	}
}

func TestParseEntryDeadLetters(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name    string
		changes []any
		reason  string
	}{
		{"no to", []any{"to", nil}, wire.ReasonNoTarget},
		{"nothing", []any{"to", nil, "data", nil}, wire.ReasonNoTarget},
		{"to that is no text", []any{"to", 7}, wire.ReasonNoTarget},
		{"empty to", []any{"to", ""}, wire.ReasonBadTarget},
		{"bad to", []any{"to", "room-1"}, wire.ReasonBadTarget},
		{"to with a space", []any{"to", "topic:a b"}, wire.ReasonBadTarget},
		{"to that is no UTF-8", []any{"to", "topic:\xff"}, wire.ReasonBadTarget},
		{"to too long", []any{"to", "topic:" + long(129)}, wire.ReasonBadTarget},
		{"no data", []any{"data", nil}, wire.ReasonNoData},
		{"data too large", []any{"data", long(maxData + 1)}, wire.ReasonTooLarge},
		{"event too long", []any{"event", long(129)}, wire.ReasonBadName},
		{"event with a line break", []any{"event", "a\nb"}, wire.ReasonBadName},
		{"event with a delete", []any{"event", "a\x7f"}, wire.ReasonBadName},
		{"event with the last control character", []any{"event", "a\x1f"}, wire.ReasonBadName},
		{"event with a name of Sluice's own", []any{"event", "sluice.gap"}, wire.ReasonBadName},
		{"event that is no UTF-8", []any{"event", "a\xff"}, wire.ReasonBadName},
		{"from too long", []any{"from", long(257)}, wire.ReasonBadFrom},
		{"from with a NUL", []any{"from", "\x00"}, wire.ReasonBadFrom},
		{"from that is no UTF-8", []any{"from", "\xc3"}, wire.ReasonBadFrom},
		{"key too long", []any{"id", long(257)}, wire.ReasonBadKey},
		{"except too long", []any{"except", long(257)}, wire.ReasonBadExcept},
		{"unread for no duration", []any{"to", "user:a", "unread", "30"}, wire.ReasonUnread},
		{"unread for less than a second", []any{"to", "user:a", "unread", "999ms"}, wire.ReasonUnread},
		{"unread for more than a day", []any{"to", "user:a", "unread", "24h1ms"}, wire.ReasonUnread},
		{"unread for less than nothing", []any{"to", "user:a", "unread", "-1h"}, wire.ReasonUnread},
		{"unread of a topic", []any{"unread", "1m"}, wire.ReasonUnread},
		{"unread of all", []any{"to", "all", "unread", "1m"}, wire.ReasonUnread},
		{"unread of what is live only", []any{"to", "user:a", "unread", "1m", "retain", "0"}, wire.ReasonUnread},
		{"another control", []any{"to", "user:alice", "control", "poke"}, wire.ReasonControl},
		{"empty control", []any{"to", "user:alice", "control", ""}, wire.ReasonControl},
		{"kick of a topic", []any{"to", "topic:alice", "control", "kick"}, wire.ReasonControl},
		{"kick of all", []any{"to", "all", "control", "kick"}, wire.ReasonControl},
		{"kick of a device that is no name", []any{"to", "user:alice", "control", "kick", "device", "a b"}, wire.ReasonControl},
		{"kick of a connection that is none", []any{"to", "user:alice", "control", "kick", "conn", long(129)}, wire.ReasonControl},
		{"kick with a reason that no close frame holds", []any{"to", "user:alice", "control", "kick", "reason", long(124)}, wire.ReasonControl},
		{"kick with a reason that is no UTF-8", []any{"to", "user:alice", "control", "kick", "reason", "\xff"}, wire.ReasonControl},
		{"kick for no number", []any{"to", "user:alice", "control", "kick", "for", "1h"}, wire.ReasonControl},
		{"kick for less than nothing", []any{"to", "user:alice", "control", "kick", "for", "-1"}, wire.ReasonControl},
		{"kick for longer than a year", []any{"to", "user:alice", "control", "kick", "for", "31536001"}, wire.ReasonControl},
	} {
		// Whoever waits for `published` is known whatever else is wrong.
		got, reason := wire.ParseEntry(id(17, 1), entryFields(append(c.changes, "reply", "gw-1 conn-2 r")...), maxData)
		if reason != c.reason {
			t.Errorf("%s: got %q, want %q", c.name, reason, c.reason)
		}
		if got.ID != id(17, 1) || got.Reply != (wire.Reply{Server: "gw-1", Conn: "conn-2", Ref: "r"}) {
			t.Errorf("%s: id or reply lost: %+v", c.name, got)
		}
	}
}

// What is passed on from the intake is what ParseEntry reads.
func TestFields(t *testing.T) {
	all := entryFields("event", "e", "id", "k", "retain", "0", "except", "c", "from", "f", "reply", "a b c", "traceparent", "t", "owner", "u", "enc", "base64", "colour", "blue",
		"device", "d", "conn", "c", "reason", "r", "for", "1", "unread", "")
	kick := map[string]any{"to": "user:alice", "control": "kick"}
	for _, name := range []string{"device", "conn", "reason", "for"} {
		kick[name] = all[name]
	}
	for name := range kick {
		if !slices.Contains(wire.Fields, name) {
			t.Errorf("%s is not passed on", name)
		}
	}
	passed := make(map[string]any)
	for _, name := range wire.Fields {
		if v, ok := all[name]; ok {
			passed[name] = v
		}
	}
	want, _ := wire.ParseEntry(id(1, 1), all, maxData)
	got, reason := wire.ParseEntry(id(1, 1), passed, maxData)
	if reason != "" || !reflect.DeepEqual(got, want) || len(passed) != len(all)-1 {
		t.Errorf("got %+v, %q, want %+v", got, reason, want)
	}
}
