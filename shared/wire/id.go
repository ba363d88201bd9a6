package wire

import (
	"errors"
	"strconv"
	"strings"
)

// ID is an event's id: that of its entry in the partition's stream, in Redis's
// form `<ms>-<n>`. Ids grow per target and are not comparable between targets.
// The zero ID, written "0", is the position before a target's first event.
type ID struct {
	Ms  uint64 // Redis's clock in Unix milliseconds when the event was added
	Seq uint64 // counts events within one millisecond
}

// ErrID says that a text is no event id.
var ErrID = errors.New(`an id is "<ms>-<n>" or "0"`)

// MaxID is above every id that Redis gives by itself.
var MaxID = ID{Ms: 1<<64 - 1, Seq: 1<<64 - 1}

// ParseID reads "<ms>-<n>" or "0". Signs, spaces, leading zeros and "0-0" are
// refused, so that every id has one spelling.
func ParseID(s string) (ID, error) {
	if s == "0" {
		return ID{}, nil
	}
	ms, seq, ok := strings.Cut(s, "-")
	if !ok {
		return ID{}, ErrID
	}
	a, err := parseUint(ms)
	if err != nil {
		return ID{}, err
	}
	b, err := parseUint(seq)
	if err != nil {
		return ID{}, err
	}
	if a == 0 && b == 0 {
		return ID{}, ErrID
	}
	return ID{a, b}, nil
}

func parseUint(s string) (uint64, error) {
	if s == "" || (s[0] == '0' && len(s) > 1) {
		return 0, ErrID
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, ErrID
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, ErrID
	}
	return n, nil
}

// Less reports whether a comes before b.
func (a ID) Less(b ID) bool { return a.Ms < b.Ms || (a.Ms == b.Ms && a.Seq < b.Seq) }

// Later is the higher of two ids.
func Later(a, b ID) ID {
	if a.Less(b) {
		return b
	}
	return a
}

// IsZero reports whether a is the position before every event.
func (a ID) IsZero() bool { return a == ID{} }

// Next is the smallest id above a; MaxID has none and stays.
func (a ID) Next() ID {
	switch {
	case a == MaxID:
		return a
	case a.Seq == 1<<64-1:
		return ID{a.Ms + 1, 0}
	}
	return ID{a.Ms, a.Seq + 1}
}

// Previous is the largest id below a; the zero ID has none and stays.
func (a ID) Previous() ID {
	switch {
	case a.IsZero():
		return a
	case a.Seq == 0:
		return ID{a.Ms - 1, 1<<64 - 1}
	}
	return ID{a.Ms, a.Seq - 1}
}

// Back is a moved ms milliseconds into the past, not below zero.
func (a ID) Back(ms uint64) ID {
	if a.Ms <= ms {
		return ID{}
	}
	return ID{Ms: a.Ms - ms}
}

// Append adds the id's text to dst: "<ms>-<n>", the zero id as "0".
func (a ID) Append(dst []byte) []byte {
	if a.IsZero() {
		return append(dst, '0')
	}
	dst = strconv.AppendUint(dst, a.Ms, 10)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, a.Seq, 10)
}

// String is the id's text.
func (a ID) String() string { return string(a.Append(make([]byte, 0, 24))) }

// MarshalText makes ids strings in JSON.
func (a ID) MarshalText() ([]byte, error) { return a.Append(nil), nil }

// UnmarshalText is ParseID for JSON.
func (a *ID) UnmarshalText(b []byte) (err error) {
	*a, err = ParseID(string(b))
	return err
}
