package store

import (
	"path"
	"testing"
)

func TestMemoryIn(t *testing.T) {
	for text, want := range map[string]Memory{
		"": {},
		"# Memory\r\nused_memory:500\r\nused_memory_human:500B\r\nmem_not_counted_for_evict:100\r\nmaxmemory:1000\r\n": {Used: 400, Max: 1000},
		"used_memory:5\nmem_not_counted_for_evict:100\n":                                                               {},
		"used_memory:x\nmaxmemory:-1\nmaxmemory_policy:noeviction\nnonsense":                                           {Max: -1, Policy: "noeviction"},
	} {
		if got := memoryIn(infoOf(text)); got != want {
			t.Errorf("%q is %+v, want %+v", text, got, want)
		}
	}
	for m, want := range map[Memory]float64{{}: 0, {Used: 5}: 0, {Used: 5, Max: -1}: 0, {Used: 5, Max: 10}: 0.5} {
		if got := m.Share(); got != want {
			t.Errorf("%+v uses %v, want %v", m, got, want)
		}
	}
}

// TestGlobEscape: a prefix matches itself and nothing else.
func TestGlobEscape(t *testing.T) {
	for _, prefix := range []string{"sluice:", "a*b", "a?b", "[ab]", `a\b`, "^a"} {
		if ok, err := path.Match(globEscape(prefix), prefix); !ok || err != nil {
			t.Errorf("%q does not match %q: %v", globEscape(prefix), prefix, err)
		}
	}
	if ok, _ := path.Match(globEscape("a*b"), "axb"); ok {
		t.Error("a star matches what is no star")
	}
}
