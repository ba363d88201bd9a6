package wire

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// validTexts are texts from which others are made by small changes.
var validTexts = []string{
	`{"to":"topic:room","data":{"a":[1,-0.5e+3,2E-7,true,false,null],"text":"long enough for eight bytes at a time"},"event":""}`,
	`[{"data":"é ß \" \\ \/ \b \f \n \r \t é 😀"},[],{},[[]],[{}], 0 ,-1,"a"]`, " \t\r\n\"12345678\" ", `"1234567\u12aF8"`,
	`""`, `0`, `-`, `01`, `1.`, `.5`, `1e`, `1e+`, `-0`, `{"a"}`, `{"a":}`, `{,}`, `[,]`, `[1,]`, `{"a":1,}`, `tru`, `nul`, `"\u12"`, `"\x"`, `"`, `{`, `[`, ``, ` `, `1 2`,
	"\"a\x1fb\"", "\"12345678\x00\"", "\"\x7f\xff\x80\"", `"\`, `nullx`, `{"a":1 "b":2}`, `{1:2}`, "\ufeff1",
}

// TestValid: what is JSON is so for the standard library, too.
func TestValid(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	texts := slices.Concat(validTexts, []string{deep(jsonDepth), deep(jsonDepth + 1), deep(jsonDepth + 1)[:jsonDepth], strings.Repeat(`{"a":`, jsonDepth+1)})
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 { // bytes changed, cut, or put in
		b := []byte(validTexts[random.IntN(len(validTexts))])
		for range 1 + random.IntN(3) {
			const some = "\"\\{}[]:,.-+eE0129truefalsnx/ \n\x00\x1f\x80u"
			c, at := some[random.IntN(len(some))], random.IntN(len(b)+1)
			switch edit := random.IntN(3); {
			case edit == 0 || at == len(b):
				b = slices.Insert(b, at, c)
			case edit == 1:
				b[at] = c
			default:
				b = slices.Delete(b, at, at+1)
			}
		}
		texts = append(texts, string(b))
	}
	yes := 0
	for _, s := range texts {
		is := valid([]byte(s))
		if is {
			yes++
		}
		if want := json.Valid([]byte(s)); is != want {
			t.Errorf("%.200q: %v, want %v", s, is, want)
		}
	}
	if yes < 5_000 || yes > len(texts)-5_000 {
		t.Errorf("%d of %d texts are valid: the changes do not look at both", yes, len(texts))
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range validTexts {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := valid(b), json.Valid(b); got != want {
			t.Errorf("%.200q: %v, want %v", b, got, want)
		}
	})
}

func BenchmarkValid(b *testing.B) {
	text := []byte(`{"to":"topic:posted-12","data":{"seq":12345,"at":1764565200123456789,"pad":"` + strings.Repeat("x", 200) + `"}}`)
	for name, f := range map[string]func([]byte) bool{"own": valid, "encoding/json": json.Valid} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if !f(text) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
