package wire_test

import (
	"encoding/json"
	"errors"
	"testing"

	"sluice/shared/wire"
)

const maxUint = 1<<64 - 1

func TestParseID(t *testing.T) {
	for text, want := range map[string]wire.ID{
		"0":               {},
		"1-0":             id(1, 0),
		"0-1":             id(0, 1),
		"1700000000000-7": id(1700000000000, 7),
		"10-10":           id(10, 10),
		"18446744073709551615-18446744073709551615": wire.MaxID,
	} {
		got, err := wire.ParseID(text)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%q is written %q", text, got.String())
		}
	}
	for _, text := range []string{
		"", "-", "1", "00", "0-0", "1-", "-1", "1-2-3", "01-1", "1-01", "1-00", "+1-1", "1-+1", "-1-1", "1--1", " 1-1", "1-1 ", "1 -1", "1- 1",
		"1-1\n", "1-1\x00", "a-1", "1-a", "0x1-1", "1e3-0", "1_0-0", "1-$", "1-*", "$", ">", "*", "earliest", "١-١", "1\u20111",
		"18446744073709551616-0", "0-18446744073709551616", "99999999999999999999-0", "100000000000000000000-0", "000000000000000000001-1",
	} {
		if got, err := wire.ParseID(text); !errors.Is(err, wire.ErrID) || got != (wire.ID{}) {
			t.Errorf("%q: got %v, %v, want ErrID", text, got, err)
		}
	}
}

func TestIDOrder(t *testing.T) {
	ordered := []wire.ID{{}, id(0, 1), id(0, maxUint), id(1, 0), id(1, 1), id(2, 0), id(maxUint, 0), wire.MaxID}
	for i, a := range ordered {
		for j, b := range ordered {
			if a.Less(b) != (i < j) {
				t.Errorf("%v before %v: %v", a, b, a.Less(b))
			}
		}
		if a.IsZero() != (i == 0) {
			t.Errorf("%v is the zero id: %v", a, a.IsZero())
		}
	}
}

func TestIDNextAndBack(t *testing.T) {
	for _, c := range []struct{ a, next wire.ID }{
		{id(0, 0), id(0, 1)},
		{id(5, 7), id(5, 8)},
		{id(5, maxUint), id(6, 0)},
		{id(maxUint, maxUint-1), wire.MaxID},
		{wire.MaxID, wire.MaxID},
	} {
		if got := c.a.Next(); got != c.next {
			t.Errorf("after %v comes %v, want %v", c.a, got, c.next)
		}
	}
	for _, c := range []struct {
		a    wire.ID
		ms   uint64
		back wire.ID
	}{
		{id(20_000, 9), 10_000, id(10_000, 0)},
		{id(10_001, 0), 10_000, id(1, 0)},
		{id(10_000, 9), 10_000, id(0, 0)},
		{id(9_999, 0), 10_000, id(0, 0)},
		{id(0, 0), 10_000, id(0, 0)},
	} {
		if got := c.a.Back(c.ms); got != c.back {
			t.Errorf("%v back %d ms is %v, want %v", c.a, c.ms, got, c.back)
		}
	}
}

func TestIDInJSON(t *testing.T) {
	type holder struct{ ID, Prev wire.ID }
	b, err := json.Marshal(holder{ID: id(17, 1)})
	if err != nil || string(b) != `{"ID":"17-1","Prev":"0"}` {
		t.Errorf("got %s, %v", b, err)
	}
	var h holder
	if err := json.Unmarshal(b, &h); err != nil || h.ID != id(17, 1) || !h.Prev.IsZero() {
		t.Errorf("got %v, %v", h, err)
	}
	if err := json.Unmarshal([]byte(`{"ID":"x"}`), &h); !errors.Is(err, wire.ErrID) {
		t.Errorf("got %v, want ErrID", err)
	}
}
