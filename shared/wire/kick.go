package wire

import (
	"encoding/binary"
	"strconv"
	"time"
)

const (
	// maxKickReason is what fits into a close frame beside the code, in bytes (RFC 6455, 5.5).
	maxKickReason = 123
	// MaxKickFor is how long a kick may keep a user out.
	MaxKickFor = 365 * 24 * time.Hour

	controlKick = "kick"
)

// Kick ends connections of a user: an entry with control "kick" in place of data. One that came after it was asked for
// is not meant, so that a kick which is done twice ends nobody who came back in between.
type Kick struct {
	User   string
	Device string        // only connections of this device; "": of any, or of none
	Conn   string        // only this connection; "": all
	Reason string        // for the clients; may be empty
	For    time.Duration // also keeps all new connections of the user out for so long, whole seconds; 0: it does not
	At     uint64        // when it was asked for, Redis's clock in Unix ms
}

// Target is that of the kick's user, whose partition it goes through.
func (k *Kick) Target() string { return UserTarget(k.User) }

// Fields are the fields and values of the kick's entry.
func (k *Kick) Fields() []string {
	f := append(make([]string, 0, 12), "to", k.Target(), "control", controlKick)
	for _, field := range [][2]string{{"device", k.Device}, {"conn", k.Conn}, {"reason", k.Reason}} {
		if field[1] != "" {
			f = append(f, field[0], field[1])
		}
	}
	if k.For > 0 {
		f = append(f, "for", strconv.FormatInt(int64(k.For/time.Second), 10))
	}
	return f
}

// Check says what is wrong with a kick, or "": a sentence for whoever asked for it.
func (k *Kick) Check() string {
	switch {
	case !ValidName(k.User):
		return "a user is 1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="
	case k.Device != "" && !ValidName(k.Device):
		return "device is 1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="
	case k.Conn != "" && !ValidName(k.Conn):
		return "conn is the id of a connection"
	case !plainText(k.Reason, maxKickReason):
		return "reason is at most 123 bytes without control characters"
	case k.For < 0 || k.For > MaxKickFor || k.For%time.Second != 0:
		return "for is a number of seconds up to a year"
	}
	return ""
}

// parseKick reads an entry whose field control is there. false: it is no kick.
func parseKick(e *Entry, get func(string) (string, bool)) (*Kick, bool) {
	control, _ := get("control")
	if control != controlKick || !IsUser(e.To) {
		return nil, false
	}
	k := &Kick{User: e.To[len(userPrefix):], At: e.ID.Ms}
	if e.Added != 0 {
		k.At = e.Added
	}
	k.Device, _ = get("device")
	k.Conn, _ = get("conn")
	k.Reason, _ = get("reason")
	if text, ok := get("for"); ok {
		seconds, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, false
		}
		k.For = time.Duration(seconds) * time.Second
	}
	return k, k.Check() == ""
}

// AppendKick adds what a gateway has to know of a kick: in a record, and where Redis keeps it.
func AppendKick(dst []byte, k *Kick) []byte {
	dst = appendBytes(dst, k.User)
	dst = appendBytes(dst, k.Device)
	dst = appendBytes(dst, k.Conn)
	dst = appendBytes(dst, k.Reason)
	return binary.AppendUvarint(dst, k.At)
}

func (d *decoder) kick() *Kick {
	k := &Kick{User: d.text(), Device: d.text(), Conn: d.text(), Reason: d.text()}
	k.At = d.uvarint()
	d.bad = d.bad || k.Check() != ""
	return k
}

// ParseKick reads what AppendKick gave; ErrRecord: it is none.
func ParseKick(kept string) (*Kick, error) {
	d := decoder{rest: kept}
	k := d.kick()
	if d.bad || d.rest != "" {
		return nil, ErrRecord
	}
	return k, nil
}
