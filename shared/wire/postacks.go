package wire

import (
	"slices"
)

// MaxAcks is how many acks one request may have.
const MaxAcks = 1000

// ParseAcks reads the acks of a request's body, {device, acks: [{to, id}, ...]}, of each target the highest. User is left to the
// caller. device may be missing: then they are receipts only.
func ParseAcks(body []byte) ([]Ack, *FrameError) {
	if !valid(body) || trim(body)[0] != '{' {
		return nil, badRequest("the body is one JSON object: {device, acks: [{to, id}, ...]}")
	}
	fields, err := only(body, "device", "acks")
	if err != nil {
		return nil, err
	}
	device, err := optional("device", fields[0])
	if err != nil {
		return nil, err
	}
	list := fields[1]
	switch {
	case device != "" && !ValidName(device):
		return nil, badRequest(ErrDevice)
	case len(list) == 0 || list[0] != '[':
		return nil, badRequest("acks is a list of {to, id}")
	}
	var acks []Ack
	place := make(map[string]int)
	n := 0
	for _, one := range members(list) {
		if n++; n > MaxAcks {
			return nil, &FrameError{Code: CodeTooLarge, Message: "more than 1000 acks in one request"}
		}
		a, err := readAck(one)
		if err != nil {
			return nil, err
		}
		if i, again := place[a.To]; again {
			acks[i].ID = Later(acks[i].ID, a.ID)
			continue
		}
		place[a.To] = len(acks)
		a.Device = device
		acks = append(acks, a)
	}
	return acks, nil
}

func readAck(object []byte) (a Ack, err *FrameError) {
	if object[0] != '{' {
		return a, badRequest("an ack is one JSON object: {to, id}")
	}
	fields, err := only(object, "to", "id")
	if err != nil {
		return a, err
	}
	if a.To, err = optional("to", fields[0]); err != nil {
		return a, err
	}
	id, err := optional("id", fields[1])
	if err != nil {
		return a, err
	}
	if wrong := CheckTarget(a.To); wrong != nil {
		return a, badRequest("to: %v", wrong)
	}
	var wrong error
	if a.ID, wrong = ParseID(id); wrong != nil {
		return a, badRequest("id: an ack needs the id of an event, or \"0\"")
	}
	return a, nil
}

// ParseUnsubscribe reads a request's body, {device, to}: the frame `unsubscribe` of a device.
func ParseUnsubscribe(body []byte) (device, to string, err *FrameError) {
	if !valid(body) || trim(body)[0] != '{' {
		return "", "", badRequest("the body is one JSON object: {device, to}")
	}
	fields, err := only(body, "device", "to")
	if err != nil {
		return "", "", err
	}
	if device, err = optional("device", fields[0]); err != nil {
		return "", "", err
	}
	if to, err = optional("to", fields[1]); err != nil {
		return "", "", err
	}
	if !ValidName(device) {
		return "", "", badRequest(ErrDevice)
	}
	if wrong := CheckTarget(to); wrong != nil {
		return "", "", badRequest("to: %v", wrong)
	}
	return device, to, nil
}

// object are the values of some fields of an object, in the order in which they were asked for; nil where one is missing.
type object [8][]byte

// only reads the fields with these names; others are ignored.
func only(text []byte, names ...string) (o object, err *FrameError) {
	for quoted, value := range members(text) {
		i := slices.IndexFunc(names, func(name string) bool { return isName(quoted, name) })
		if i < 0 {
			continue
		}
		if o[i] != nil {
			return o, badRequest("the field %q is there twice", names[i])
		}
		o[i] = value
	}
	return o, nil
}

// isName reports whether a quoted text is this name.
func isName(quoted []byte, name string) bool {
	if isPlain(quoted) {
		return string(quoted[1:len(quoted)-1]) == name
	}
	text, _ := unquote(quoted)
	return text == name
}

// optional is the text of a field that is a string; "" where it is missing.
func optional(name string, value []byte) (string, *FrameError) {
	if value == nil {
		return "", nil
	}
	return readText(name, value)
}
