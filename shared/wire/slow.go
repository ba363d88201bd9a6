package wire

// SlowReport says how it stands with a connection that does not keep up. It is an entry
// of a stream `slow`, written by the connection's gateway.
type SlowReport struct {
	Server string
	Conn   string
	User   string // of the connection; may be absent
	To     string // the target that waits for room
	After  ID     // newest event of it that is queued for the client
	State  string
}

// States of a SlowReport.
const (
	SlowLagging  = "lagging"  // it takes nothing
	SlowProgress = "progress" // it has taken something since the last report
	SlowDone     = "done"     // it has met the live flow, or is gone
)

// Fields are the fields and values of the report's entry.
func (r *SlowReport) Fields() []string {
	f := append(make([]string, 0, 12), "server", r.Server, "conn", r.Conn, "to", r.To, "state", r.State)
	if r.User != "" {
		f = append(f, "user", r.User)
	}
	if r.State != SlowDone {
		f = append(f, "after", r.After.String())
	}
	return f
}

// ParseSlowReport reads an entry of a stream `slow`; false: it is none.
func ParseSlowReport(fields map[string]any) (SlowReport, bool) {
	text := func(name string) string { s, _ := fields[name].(string); return s }
	r := SlowReport{Server: text("server"), Conn: text("conn"), User: text("user"), To: text("to"), State: text("state")}
	if after := text("after"); after != "" {
		var err error
		if r.After, err = ParseID(after); err != nil {
			return SlowReport{}, false
		}
	}
	known := r.State == SlowLagging || r.State == SlowProgress || r.State == SlowDone
	if !known || !ValidName(r.Server) || !ValidName(r.Conn) || CheckTarget(r.To) != nil || (r.User != "" && !ValidName(r.User)) {
		return SlowReport{}, false
	}
	return r, true
}

// Redelivery asks a gateway to serve a connection that was reported for a target, and to
// report again.
type Redelivery struct {
	Conn string
	To   string
	Last bool // close the connection if it has taken nothing since the last report
}

const flagLast = 1

// AppendRedeliver adds the message with these redeliveries (record.go).
func AppendRedeliver(dst []byte, all []Redelivery) []byte {
	dst = append(dst, msgRedeliver)
	for i := range all {
		dst = appendBytes(dst, all[i].Conn)
		dst = appendBytes(dst, all[i].To)
		flags := byte(0)
		if all[i].Last {
			flags = flagLast
		}
		dst = append(dst, flags)
	}
	return dst
}

func (d *decoder) redelivery() Redelivery {
	return Redelivery{Conn: d.text(), To: d.text(), Last: d.byte()&flagLast != 0}
}
