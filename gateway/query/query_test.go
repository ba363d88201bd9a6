package query

import (
	"net/url"
	"strings"
	"testing"
)

var queries = []string{
	"", "token=a", "a=1&token=a&token=b", "token", "token=", "&&token=x&", "to%6ben=x", "token=%zz&token=y", "token=a;b&token=c", "%zz=1&token=2",
	"token=a+b%20c", "Token=a", "token==", "x=token=a", "a=b;token=1", "+token=1", "token%3D=1", "=", "=a&token=1",
}

func check(t *testing.T, query, name string) {
	t.Helper()
	values, _ := url.ParseQuery(query) // what it could read
	got, found := Get(query, name)
	if got != values.Get(name) || found != values.Has(name) {
		t.Errorf("%q of %q: %q, %v; net/url has %q, %v", name, query, got, found, values.Get(name), values.Has(name))
	}
}

func TestGet(t *testing.T) {
	for _, q := range queries {
		check(t, q, "token")
		check(t, q, "")
	}
}

// TestGetCostsNothing: whatever a stranger sends, nothing is kept and little is made.
func TestGetCostsNothing(t *testing.T) {
	q := strings.Repeat("a=b&", 3000) + "topics=" + strings.Repeat(",", 3000)
	if n := testing.AllocsPerRun(10, func() { Get(q, "token") }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzGet(f *testing.F) {
	for _, q := range queries {
		f.Add(q, "token")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		if strings.Count(query, "&") < 1000 { // net/url reads no more than 10,000
			check(t, query, name)
		}
	})
}
