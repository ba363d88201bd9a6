package wire

import (
	"strconv"
	"unicode/utf8"
)

// ConnectKind is an event that asks a function who a client is.
const ConnectKind = "connect"

// MaxConnectText bounds what a client says of itself when it connects, in bytes: as a request's header.
const MaxConnectText = 16 << 10

// Connect is an entry of the connects: a function is asked who a client is.
type Connect struct {
	Server, Ask string // where the answer goes: a gateway, and its name for who waits there
	Until       uint64 // nobody waits any more, Redis's clock in Unix ms
	Token       string
	Query       string // of the request, as it came
	Origin      string
	Device      string
	Transport   string
	Address     string
}

// ID is that of the event, as functions get it.
func (c *Connect) ID() string { return ConnectKind + ":" + c.Ask }

// Fields are the names and values of the entry.
func (c *Connect) Fields() []string {
	return []string{
		"server", c.Server, "ask", c.Ask, "until", strconv.FormatUint(c.Until, 10), "token", c.Token, "query", c.Query, "origin", c.Origin,
		"device", c.Device, "transport", c.Transport, "address", c.Address,
	}
}

// ParseConnect reads an entry. false: nobody of us wrote it.
func ParseConnect(fields map[string]any) (c Connect, ok bool) {
	get := func(name string) string {
		s, _ := fields[name].(string)
		return s
	}
	until, err := strconv.ParseUint(get("until"), 10, 63)
	c = Connect{get("server"), get("ask"), until, get("token"), get("query"), get("origin"), get("device"), get("transport"), get("address")}
	ok = err == nil && ValidName(c.Server) && ValidName(c.Ask) && c.Token != "" && ValidName(c.Transport)
	for _, text := range []string{c.Token, c.Query, c.Origin, c.Device, c.Address} {
		ok = ok && len(text) <= MaxConnectText && utf8.ValidString(text)
	}
	if !ok {
		return Connect{}, false
	}
	return c, true
}
