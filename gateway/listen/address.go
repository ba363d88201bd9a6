package listen

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Client is the client's address: the peer's, or what trusted proxies say in the header
// of the request. From the right to the left, each entry is believed if the one that wrote
// it is trusted; so what a client writes itself is never reached.
func (c *Conn) Client(r *http.Request) netip.Addr {
	if c == nil {
		return hostOf(r.RemoteAddr)
	}
	o := &c.listener.o
	client := c.addr
	var entries []string
	switch o.ProxyHeader {
	case ProxyProtocol: // it is in c.addr
		return client
	case Forwarded:
		entries = r.Header.Values("Forwarded")
	default:
		entries = r.Header.Values("X-Forwarded-For")
	}
	for _, line := range slices.Backward(entries) {
		for rest := line; o.trusts(client); {
			var last string
			if i := strings.LastIndexByte(rest, ','); i >= 0 {
				rest, last = rest[:i], rest[i+1:]
			} else {
				rest, last = "", rest
			}
			if o.ProxyHeader == Forwarded {
				last = forwardedFor(last)
			}
			a := hostOf(last)
			if !a.IsValid() { // hidden, or nonsense: the one before is the last that is known
				return client
			}
			if client = a; rest == "" {
				break
			}
		}
	}
	return client
}

// forwardedFor is the parameter `for` of one element of a Forwarded header (RFC 7239, 4).
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// hostOf reads an address, with or without a port and brackets.
func hostOf(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if a, err := netip.ParseAddrPort(text); err == nil {
		return plain(a.Addr())
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return plain(a)
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return plain(tcp.AddrPort().Addr())
	}
	return netip.Addr{}
}

// plain is one spelling of an address.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Share is what counts as one client's address: all of a /64 of IPv6 is one customer's
// (RFC 6177).
func Share(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
