package ops

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes that is written as 65536, 64KiB or 64kB.
type ByteSize int64

// The binary units.
const (
	KiB ByteSize = 1 << 10
	MiB ByteSize = 1 << 20
	GiB ByteSize = 1 << 30
	TiB ByteSize = 1 << 40
)

// Units with an i are powers of 1024, those without powers of 1000 (IEC 80000-13).
var byteUnits = map[string]ByteSize{
	"": 1, "B": 1,
	"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": KiB, "MiB": MiB, "GiB": GiB, "TiB": TiB,
}

// UnmarshalText reads a whole number and a unit, with or without a space
// between: none or B, kB, MB, GB, TB (1000), KiB, MiB, GiB, TiB (1024).
// Fractions, signs and sizes over 8 EiB are errors.
func (b *ByteSize) UnmarshalText(text []byte) error {
	s := string(text)
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a size: want a whole number and a unit, such as 64KiB", s)
	}
	unit, known := byteUnits[strings.TrimPrefix(s[digits:], " ")]
	if !known {
		return fmt.Errorf("%q is not a size: want one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB", s)
	}
	if n > math.MaxInt64/int64(unit) {
		return fmt.Errorf("%q is too large a size", s)
	}
	*b = ByteSize(n) * unit
	return nil
}

// String is the size in the largest binary unit that divides it, which
// UnmarshalText reads back.
func (b ByteSize) String() string {
	for _, u := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if unit := byteUnits[u]; b != 0 && b%unit == 0 {
			return strconv.FormatInt(int64(b/unit), 10) + u
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText makes JSON logs show what String says.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
