package wire

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a producer's fields other than data, in bytes. They keep the record
// and the frame around an event small.
const (
	maxEventName = 128
	maxField     = 256
)

// Reasons why an entry becomes a dead letter.
const (
	ReasonNoTarget       = "no_to"           // field to is missing
	ReasonBadTarget      = "bad_to"          // field to is no target
	ReasonNoData         = "no_data"         // field data is missing
	ReasonTooLarge       = "too_large"       // data is larger than SLUICE_MAX_FRAME_BYTES
	ReasonBadName        = "bad_event"       // field event is too long, not UTF-8, has control characters, or begins with sluice.
	ReasonBadKey         = "bad_id"          // field id (idempotency key) is too long
	ReasonBadFrom        = "bad_from"        // field from is too long, not UTF-8 or has control characters
	ReasonBadExcept      = "bad_except"      // field except is too long
	ReasonUnread         = "bad_unread"      // field unread is no duration from 1s to 24h, or the event is live only or not for a user
	ReasonControl        = "bad_control"     // field control is there, and is no kick that can be done
	ReasonWrongPartition = "wrong_partition" // appended to the stream of a partition that is not the target's
	ReasonOrder          = "out_of_order"    // the history already ends above the entry's id, and does not hold it
	ReasonForwarded      = "forwarded"       // sluice:{p}:forwarded was set above an intake entry that is new
	ReasonFull           = "partition_full"  // the partition's stream ends at the highest id of all, and takes no more
	ReasonCall           = "bad_call"        // an entry of a partition's calls that no gateway wrote
	ReasonFunction       = "function_failed" // a function failed for SLUICE_FUNCTION_RETRY_FOR
	ReasonFunctionGone   = "function_gone"   // a function answered 410
	ReasonFunctionAnswer = "function_answer" // what a function answered last was no answer, for as long
	ReasonHistory        = "history_failed"  // the history's key holds something that is no stream
)

// Entry is one producer's XADD, checked.
type Entry struct {
	Event
	Key   string // idempotency key, "" for none
	Owner string // user whose key it is, "": a backend's
	Added uint64 // when it was added to the intake, Redis's clock in Unix ms; 0: it was not
	Reply Reply  // who waits for `published`
	// Unread is how long functions are not told of it while none of its user's devices has acknowledged it; 0: they never are.
	Unread time.Duration
	Kick   *Kick // it is no event, but ends connections; nil: it is an event
}

// ParseEntry checks the fields of a stream entry. It returns "" or the reason for
// which the entry is a dead letter. maxData bounds data, in bytes. Unknown fields
// are ignored. Kind is left to KindOf, since only who renders the event needs it, unless the producer says it.
func ParseEntry(id ID, fields map[string]any, maxData int) (e Entry, reason string) {
	get := func(name string) (string, bool) {
		s, ok := fields[name].(string)
		return s, ok
	}
	e.ID = id
	if reply, ok := get("reply"); ok {
		e.Reply, _ = ParseReply(reply)
	}
	to, ok := get("to")
	if !ok {
		return e, ReasonNoTarget
	}
	if CheckTarget(to) != nil {
		return e, ReasonBadTarget
	}
	e.To = to
	if added, ok := get(FieldAdded); ok {
		e.Added, _ = strconv.ParseUint(added, 10, 64)
	}
	if _, ok := get("control"); ok {
		if e.Kick, ok = parseKick(&e, get); !ok {
			return e, ReasonControl
		}
		return e, ""
	}
	data, ok := get("data")
	if !ok {
		return e, ReasonNoData
	}
	if len(data) > maxData {
		return e, ReasonTooLarge
	}
	e.Data = data
	if enc, _ := get("enc"); enc == EncBase64 {
		e.Kind = Binary
	}
	if e.Name, ok = get("event"); ok && !isEventName(e.Name) {
		return e, ReasonBadName
	}
	if e.From, ok = get("from"); ok && !plainText(e.From, maxField) {
		return e, ReasonBadFrom
	}
	if e.Key, _ = get("id"); len(e.Key) > maxField {
		return e, ReasonBadKey
	}
	if e.Owner, _ = get("owner"); len(e.Owner) > maxField {
		return e, ReasonBadKey
	}
	if e.Except, _ = get("except"); len(e.Except) > maxField {
		return e, ReasonBadExcept
	}
	e.Trace, _ = get("traceparent")
	if len(e.Trace) > maxField {
		e.Trace = "" // tracing is a courtesy: a bad one never costs the event
	}
	retain, ok := get("retain")
	e.Live = ok && (retain == "0" || retain == "false")
	unread, _ := get("unread")
	var err error
	if e.Unread, err = CheckUnread(to, unread, e.Live); err != nil {
		return e, ReasonUnread
	}
	return e, ""
}

// FieldAdded is set by who forwards an entry with a key, or a control, from the intake: the time in its
// id there, from which the key's time counts, and after which connections are not meant.
const FieldAdded = "added"

// Fields are those of an entry that mean something; whoever passes an entry on
// leaves out the others. Gateways set owner, for what clients publish.
var Fields = []string{"to", "data", "event", "id", "retain", "except", "from", "reply", "traceparent", "owner", "enc", "unread",
	"control", "device", "conn", "reason", "for"}

// isEventName reports whether producers may name an event so: on event streams some names are Sluice's own.
func isEventName(s string) bool {
	return plainText(s, maxEventName) && !strings.HasPrefix(s, OwnNames)
}

func plainText(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// DataKind says how an event's data stands in its frame.
type DataKind byte

// EncBase64 is the field enc of an entry and of a frame: data is shown in base64. Of an entry it says so whatever
// data looks like.
const EncBase64 = "base64"

// The kinds of data.
const (
	JSON   DataKind = 'j' // embedded as it is
	Text   DataKind = 't' // UTF-8 that is no JSON: a JSON string
	Binary DataKind = 'b' // a string in base64, and enc says so
)

// KindOf looks at the bytes: JSON, else UTF-8 text, else binary.
func KindOf(data string) DataKind {
	switch {
	case !utf8.ValidString(data): // json.Valid does not look at UTF-8
		return Binary
	case embeddable(data):
		return JSON
	}
	return Text
}
