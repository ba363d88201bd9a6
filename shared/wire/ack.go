package wire

// Ack says that a user, on a device, has everything of a target up to ID. It is an
// entry of an acks stream.
type Ack struct {
	User   string
	Device string // "": a receipt only, no cursor is kept
	To     string
	ID     ID
}

// Fields are the fields and values of the ack's entry.
func (a *Ack) Fields() []string {
	f := append(make([]string, 0, 8), "user", a.User)
	if a.Device != "" {
		f = append(f, "device", a.Device)
	}
	return append(f, "to", a.To, "id", a.ID.String())
}

// ParseAck reads an entry of an acks stream; false: it is none.
func ParseAck(fields map[string]any) (Ack, bool) {
	text := func(name string) string { s, _ := fields[name].(string); return s }
	a := Ack{User: text("user"), Device: text("device"), To: text("to")}
	var err error
	a.ID, err = ParseID(text("id"))
	if err != nil || a.ID.IsZero() || !ValidName(a.User) || CheckTarget(a.To) != nil ||
		(a.Device != "" && !ValidName(a.Device)) {
		return Ack{}, false
	}
	return a, true
}

// AppendAcked adds the message that tells a gateway of acks, to be passed on to other
// devices of their users (record.go).
func AppendAcked(dst []byte, acks []Ack) []byte {
	dst = append(dst, msgAcked)
	for i := range acks {
		a := &acks[i]
		dst = appendBytes(dst, a.User)
		dst = appendBytes(dst, a.Device)
		dst = appendBytes(dst, a.To)
		dst = appendID(dst, a.ID)
	}
	return dst
}

func (d *decoder) ack() Ack { return Ack{d.text(), d.text(), d.text(), d.id()} }
