package main

import (
	"bytes"
	"errors"
	"testing"
)

func TestCutFrame(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 1000, 1<<16 - 1, 1 << 16, 100_000} {
		payload := bytes.Repeat([]byte{'a'}, n)
		frame := appendServerText(nil, payload)
		behind := append(bytes.Clone(frame), 0x89, 0)
		op, got, size, err := cutFrame(behind)
		if err != nil || op != opText || size != len(frame) || !bytes.Equal(got, payload) {
			t.Errorf("a frame of %d bytes: opcode %d, %d bytes of payload, size %d of %d, error %v", n, op, len(got), size, len(frame), err)
		}
		for _, cut := range []int{0, 1, 2, 3, 4, 9, 10, len(frame) - 1} {
			if cut >= len(frame) {
				continue
			}
			if _, _, size, err := cutFrame(frame[:cut]); size != 0 || err != nil {
				t.Errorf("%d bytes of a frame of %d: size %d, error %v; want to wait for more", cut, len(frame), size, err)
			}
		}
	}
	for name, x := range map[string]struct {
		frame []byte
		want  error
	}{
		"fragment":      {[]byte{0x01, 1, 'a'}, errFragment},
		"continuation":  {[]byte{0x80, 1, 'a'}, errFragment},
		"binary":        {[]byte{0x82, 1, 'a'}, errFragment},
		"reserved bit":  {[]byte{0xc1, 1, 'a'}, errFragment},
		"masked":        {[]byte{0x81, 0x81, 0, 0, 0, 0, 'a'}, errMasked},
		"33 MiB":        {[]byte{0x81, 127, 0, 0, 0, 0, 2, 0x10, 0, 0}, errHuge},
		"negative size": {[]byte{0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, errHuge},
	} {
		if _, _, _, err := cutFrame(x.frame); !errors.Is(err, x.want) {
			t.Errorf("%s: error %v, want %v", name, err, x.want)
		}
	}
}

func FuzzCutFrame(f *testing.F) {
	f.Add(appendServerText(nil, []byte("hello")))
	f.Add(appendServerText(nil, make([]byte, 70_000)))
	f.Add([]byte{0x88, 2, 3, 0xe8})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, payload, size, err := cutFrame(b)
		if err != nil && size != 0 {
			t.Fatalf("size %d and error %v", size, err)
		}
		if size > len(b) || len(payload) > size {
			t.Fatalf("size %d and payload %d of %d bytes", size, len(payload), len(b))
		}
		if size == 0 {
			return
		}
		// What is behind a frame does not change it, and less than it is not enough.
		if _, again, same, err := cutFrame(append(bytes.Clone(b[:size]), 0xff)); err != nil || same != size || !bytes.Equal(again, payload) {
			t.Fatalf("with another byte behind: size %d instead of %d, error %v", same, size, err)
		}
		if _, _, less, _ := cutFrame(b[:size-1]); less != 0 {
			t.Fatalf("without its last byte it is %d bytes long", less)
		}
	})
}

func TestData(t *testing.T) {
	for _, size := range []int{minData, minData + 1, 256, 5000} {
		data := appendData(nil, size, 1234567, 1763870000123456789)
		if len(data) != size {
			t.Errorf("data of %d bytes is %d long", size, len(data))
		}
		number, sent, ok := parseData(append(data, '}'))
		if !ok || number != 1234567 || sent != 1763870000123456789 {
			t.Errorf("data of %d bytes: number %d, sent %d, %v", size, number, sent, ok)
		}
	}
	for _, foreign := range []string{"", "{}", `{"type":"event","to":"all","data":{"hello":1}}`,
		`{"type":"event","to":"all","event":"message","data":"as long as one of ours, but nothing that we could read"}`} {
		if _, _, ok := parseData([]byte(foreign)); ok {
			t.Errorf("%q passes for an event of the generator", foreign)
		}
	}
}

func TestTextField(t *testing.T) {
	payload := []byte(`{"type":"subscribed","to":"topic:a","position":"17-3","recovered":true}`)
	for name, want := range map[string]string{"to": "topic:a", "position": "17-3", "ref": "", "recovered": ""} {
		if got := textField(payload, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
