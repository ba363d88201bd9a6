package wire

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What functions are called with. A function's event of a kind has the type "sluice.<kind>".
const (
	CallKind         = "call"         // a client has asked for something
	ConnectedKind    = "connected"    // a connection is there
	DisconnectedKind = "disconnected" // a connection has ended
	OnlineKind       = "online"       // a user has a first connection
	OfflineKind      = "offline"      // a user has had none for a while
	UnreadKind       = "unread"       // no device of a user has acknowledged an event in time

	// dueKind is no event: the one that Of names is to be tried again.
	dueKind = "due"
)

// The transports of a client. TransportHTTP is that of a request, which has no connection.
const (
	TransportWS   = "ws"
	TransportSSE  = "sse"
	TransportHTTP = "http"
)

// Why a connection has ended.
const (
	CauseClosed  = "closed"  // by the client, or its link broke
	CauseExpired = "expired" // its token
	CauseSlow    = "slow"
	CauseKicked  = "kicked"
	CauseDrained = "drained" // it was sent elsewhere
	CauseRefused = "refused" // it broke a rule of the protocol
	CauseLost    = "lost"    // its gateway died
)

var causes = map[string]bool{
	CauseClosed: true, CauseExpired: true, CauseSlow: true, CauseKicked: true, CauseDrained: true, CauseRefused: true, CauseLost: true,
}

// How long the name of a call may be, and its id, in bytes.
const (
	MaxCallName = 128
	MaxCallID   = 256
)

// Call is an entry of a partition's calls: an event for functions. Those of one connection are in order.
type Call struct {
	Kind      string
	ID        string // the same at each try; functions get it as webhook-id
	User      string
	Conn      string
	Server    string // the connection's gateway
	Device    string // "": it has none
	Transport string
	Seq       uint64 // of the connection's events, from 1
	Trace     string // traceparent

	Ref, Name string // of a call; what the client asked with
	Data      string // of a call: JSON, "" for none
	Cause     string // of disconnected
	Event     ID     // of unread: the event, of the user's target

	Due *Due // it is no event
}

// OfConnection reports whether it is of a connection, which has a state and can be ended.
func (c *Call) OfConnection() bool { return c.Transport != TransportHTTP && !c.OfUser() }

// OfUser reports whether it is of a user, whatever the connection.
func (c *Call) OfUser() bool {
	return c.Kind == OnlineKind || c.Kind == OfflineKind || c.Kind == UnreadKind
}

// Due says that an event is to be tried again.
type Due struct {
	Of    ID     // in the same stream
	Tries int    // that have failed
	Since uint64 // when the first one did, Redis's clock in Unix ms
}

// CallFields are the names of the fields of an event for functions.
var CallFields = []string{
	"kind", "id", "user", "conn", "server", "transport", "seq", "device", "traceparent", "ref", "name", "data", "cause", "event",
}

// Fields are the names and values of the call's entry.
func (c *Call) Fields() []string {
	if c.Due != nil {
		return []string{"kind", dueKind, "of", c.Due.Of.String(), "tries", strconv.Itoa(c.Due.Tries), "since", strconv.FormatUint(c.Due.Since, 10)}
	}
	f := append(make([]string, 0, 28), "kind", c.Kind, "id", c.ID, "user", c.User, "conn", c.Conn, "server", c.Server,
		"transport", c.Transport, "seq", strconv.FormatUint(c.Seq, 10))
	for _, x := range [][2]string{
		{"device", c.Device}, {"traceparent", c.Trace}, {"ref", c.Ref}, {"name", c.Name}, {"data", c.Data}, {"cause", c.Cause},
	} {
		if x[1] != "" {
			f = append(f, x[0], x[1])
		}
	}
	if c.Kind == UnreadKind {
		f = append(f, "event", c.Event.String())
	}
	return f
}

// ParseCall reads an entry. false: nobody of us wrote it.
func ParseCall(fields map[string]any) (c Call, ok bool) {
	get := func(name string) string {
		s, _ := fields[name].(string)
		return s
	}
	if c.Kind = get("kind"); c.Kind == dueKind {
		return parseDue(get)
	}
	c.ID, c.User, c.Conn, c.Server, c.Device = get("id"), get("user"), get("conn"), get("server"), get("device")
	c.Transport, c.Trace, c.Ref, c.Name, c.Data, c.Cause = get("transport"), get("traceparent"), get("ref"), get("name"), get("data"), get("cause")
	seq, err := strconv.ParseUint(get("seq"), 10, 53) // as far as every JSON reader counts
	c.Seq = seq
	if err != nil || !plainText(c.ID, MaxCallID+maxName+8) || c.ID == "" || !ValidName(c.User) || !c.OfUser() && !(ValidName(c.Conn) && ValidName(c.Server)) ||
		c.Device != "" && !ValidName(c.Device) || c.Transport != "" && !ValidName(c.Transport) || !plainText(c.Trace, maxField) {
		return Call{}, false
	}
	switch c.Kind {
	case CallKind:
		ok = CheckCallName(c.Name) && utf8.RuneCountInString(c.Ref) <= MaxRef && (c.Data == "" || valid([]byte(c.Data)) && utf8.ValidString(c.Data))
	case ConnectedKind, OnlineKind, OfflineKind:
		ok = true
	case DisconnectedKind:
		ok = causes[c.Cause]
	case UnreadKind:
		c.Event, err = ParseID(get("event"))
		ok = err == nil
	}
	if !ok {
		return Call{}, false
	}
	return c, true
}

func parseDue(get func(string) string) (Call, bool) {
	of, err := ParseID(get("of"))
	tries, errTries := strconv.ParseUint(get("tries"), 10, 31)
	since, errSince := strconv.ParseUint(get("since"), 10, 63)
	if err != nil || errTries != nil || errSince != nil {
		return Call{}, false
	}
	return Call{Due: &Due{of, int(tries), since}}, true
}

// NewTrace begins a trace: a W3C traceparent. It is marked as sampled, so who keeps traces by their parents' marks keeps it as
// if it had begun there.
func NewTrace() string {
	var b [24]byte
	_, _ = rand.Read(b[:])
	return "00-" + hex.EncodeToString(b[:16]) + "-" + hex.EncodeToString(b[16:]) + "-01"
}

// ConnectedID is the id of the event that tells of a connection's begin: there is one.
func ConnectedID(conn string) string { return "connected:" + conn }

// DisconnectedID is that of the one that tells of its end.
func DisconnectedID(conn string) string { return "disconnected:" + conn }

// CallID is the id of a user's call as functions get it, CallKey the user's part of it: the key that the client gave.
func CallID(user, key string) string { return "call:" + user + " " + key }

// CallKey is what CallID was made of.
func CallKey(id string) string {
	_, key, _ := strings.Cut(id, " ")
	return key
}

// CheckCallName reports whether a call may have this name.
func CheckCallName(name string) bool { return name != "" && plainText(name, MaxCallName) }
