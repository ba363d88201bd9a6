package wire_test

import (
	"strings"
	"testing"

	"sluice/shared/wire"
)

func connectFields(c *wire.Connect) map[string]any {
	fields := make(map[string]any)
	all := c.Fields()
	for i := 0; i < len(all); i += 2 {
		fields[all[i]] = all[i+1]
	}
	return fields
}

var goodConnect = wire.Connect{
	Server: "g", Ask: "a", Until: 5, Token: "t é", Query: "a=b", Origin: "https://x", Device: "d", Transport: "ws", Address: "::1",
}

// What a function is asked about a client is the same from the gateway to the worker.
func TestConnect(t *testing.T) {
	t.Parallel()
	if got, ok := wire.ParseConnect(connectFields(&goodConnect)); !ok || got != goodConnect {
		t.Errorf("got %+v, %v", got, ok)
	}
	for name, bad := range map[string]string{
		"server": "", "ask": "a b", "until": "-1", "token": "", "transport": "", "query": "\xff", "origin": strings.Repeat("x", wire.MaxConnectText+1),
	} {
		fields := connectFields(&goodConnect)
		fields[name] = bad
		if got, ok := wire.ParseConnect(fields); ok {
			t.Errorf("%s %.9q: taken as %+v", name, bad, got)
		}
	}
}

func FuzzParseConnect(f *testing.F) {
	f.Add("g", "a", "5", "t", "q")
	f.Fuzz(func(t *testing.T, server, ask, until, token, query string) {
		c, ok := wire.ParseConnect(map[string]any{"server": server, "ask": ask, "until": until, "token": token, "query": query, "transport": "ws"})
		if again, same := wire.ParseConnect(connectFields(&c)); ok && (!same || again != c) {
			t.Errorf("got %+v, want %+v", again, c)
		}
	})
}
