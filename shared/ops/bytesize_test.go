package ops

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestByteSize(t *testing.T) {
	for in, want := range map[string]ByteSize{
		"0": 0, "1": 1, "65536": 65536, "12B": 12, "64KiB": 64 * KiB, "64 KiB": 64 * KiB, "1MiB": MiB, "3GiB": 3 * GiB,
		"2TiB": 2 * TiB, "64kB": 64000, "5MB": 5e6, "1GB": 1e9, "1TB": 1e12, "007": 7, "9223372036854775807": 1<<63 - 1,
	} {
		var b ByteSize
		if err := b.UnmarshalText([]byte(in)); err != nil || b != want {
			t.Errorf("%q: %d, %v; want %d", in, b, err, want)
		}
	}
	for in, want := range map[string]string{
		"": "whole number", "KiB": "whole number", "-1": "whole number", "+1": "whole number", " 1": "whole number",
		"1.5MiB": "units", "1e3": "units", "64kb": "units", "64KB": "units", "64K": "units", "64  KiB": "units", "1KiB ": "units",
		"9223372036854775808": "whole number", "8388608TiB": "too large", "9223373TB": "too large",
	} {
		b := ByteSize(42)
		if err := b.UnmarshalText([]byte(in)); err == nil || !strings.Contains(err.Error(), want) || b != 42 {
			t.Errorf("%q: %d, error %v; want one with %q and nothing changed", in, b, err, want)
		}
	}
}

func TestByteSizeString(t *testing.T) {
	for b, want := range map[ByteSize]string{
		0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1536: "1536", 64 * KiB: "64KiB", MiB: "1MiB", GiB + MiB: "1025MiB", 3 * TiB: "3TiB", -KiB: "-1KiB",
	} {
		if got := b.String(); got != want {
			t.Errorf("%d: %q, want %q", int64(b), got, want)
		}
	}
	if got, err := json.Marshal(map[string]any{"size": MiB}); err != nil || string(got) != `{"size":"1MiB"}` {
		t.Errorf("as JSON: %s, %v", got, err)
	}
}

// What is read is not negative and is written back as the same size.
func FuzzByteSize(f *testing.F) {
	for _, s := range []string{"", "0", "65536", "64KiB", "64 KiB", "1MiB", "64kB", "9223372036854775807", "8388608TiB", "-1B", "1.5GB", "1\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b, again ByteSize
		if b.UnmarshalText([]byte(s)) != nil {
			return
		}
		if b < 0 {
			t.Fatalf("%q is %d", s, int64(b))
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Fatalf("%q is %d, written as %q, read as %d, %v", s, int64(b), b, int64(again), err)
		}
	})
}
