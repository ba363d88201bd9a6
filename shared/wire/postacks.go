package wire

import "encoding/json"

// MaxAcks is how many acks one request may have.
const MaxAcks = 1000

// ParseAcks reads the acks of a request's body, {device, acks: [{to, id}, ...]}, of each target the highest. User is left to the
// caller. device may be missing: then they are receipts only.
func ParseAcks(body []byte) ([]Ack, *FrameError) {
	if !json.Valid(body) || trim(body)[0] != '{' {
		return nil, badRequest("the body is one JSON object: {device, acks: [{to, id}, ...]}")
	}
	fields, err := only(body, "device", "acks")
	if err != nil {
		return nil, err
	}
	device, err := fields.text("device")
	if err != nil {
		return nil, err
	}
	list := fields["acks"]
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
	if a.To, err = fields.text("to"); err != nil {
		return a, err
	}
	id, err := fields.text("id")
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
	if !json.Valid(body) || trim(body)[0] != '{' {
		return "", "", badRequest("the body is one JSON object: {device, to}")
	}
	fields, err := only(body, "device", "to")
	if err != nil {
		return "", "", err
	}
	if device, err = fields.text("device"); err != nil {
		return "", "", err
	}
	if to, err = fields.text("to"); err != nil {
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

// object are the values of some fields of an object.
type object map[string][]byte

// only reads the fields with these names; others are ignored.
func only(text []byte, names ...string) (object, *FrameError) {
	o := make(object, len(names))
	for quoted, value := range members(text) {
		name, _ := unquote(quoted)
		for _, wanted := range names {
			if name != wanted {
				continue
			}
			if o[name] != nil {
				return nil, badRequest("the field %q is there twice", name)
			}
			o[name] = value
		}
	}
	return o, nil
}

// text is a field that is a string; "" where it is missing.
func (o object) text(name string) (string, *FrameError) {
	if o[name] == nil {
		return "", nil
	}
	return readText(name, o[name])
}
