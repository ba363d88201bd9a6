// Package query reads single values of a URL's query. net/url makes a map of all of it,
// which costs many times the query's length: too much for requests of anybody.
package query

import (
	"net/url"
	"strings"
)

// Get is the first value of a name, as net/url's Query().Get gives it, and whether the name
// is there. What cannot be unescaped is skipped. The value may share the query's memory.
func Get(query, name string) (value string, found bool) {
	for piece := range strings.SplitSeq(query, "&") {
		if piece == "" || strings.Contains(piece, ";") { // as net/url: ";" may mean "&" to others
			continue
		}
		key, value, _ := strings.Cut(piece, "=")
		if strings.ContainsAny(key, "%+") {
			var err error
			if key, err = url.QueryUnescape(key); err != nil {
				continue
			}
		}
		if key != name {
			continue
		}
		value, err := url.QueryUnescape(value)
		if err == nil {
			return value, true
		}
	}
	return "", false
}
