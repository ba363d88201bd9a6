package listen

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func TestClient(t *testing.T) {
	for name, c := range map[string]struct {
		peer, way string
		forwarded []string // X-Forwarded-For, or Forwarded
		want      string
	}{
		"nobody between":                  {"198.51.100.1", ForwardedFor, nil, "198.51.100.1"},
		"who is not trusted says nothing": {"198.51.100.1", ForwardedFor, []string{"203.0.113.9"}, "198.51.100.1"},
		"behind one":                      {"10.0.0.1", ForwardedFor, []string{"203.0.113.9"}, "203.0.113.9"},
		"a lie in front":                  {"10.0.0.1", ForwardedFor, []string{"192.0.2.1, 203.0.113.9"}, "203.0.113.9"},
		"behind two":                      {"10.0.0.1", ForwardedFor, []string{"192.0.2.1, 203.0.113.9, 10.9.9.9"}, "203.0.113.9"},
		"in several lines":                {"10.0.0.1", ForwardedFor, []string{"192.0.2.1", "203.0.113.9", "10.9.9.9 , 10.0.0.2"}, "203.0.113.9"},
		"all are trusted":                 {"10.0.0.1", ForwardedFor, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"with ports":                      {"10.0.0.1", ForwardedFor, []string{"203.0.113.9:4711"}, "203.0.113.9"},
		"IPv6":                            {"fd00::1", ForwardedFor, []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		"IPv4 in IPv6":                    {"::ffff:10.0.0.1", ForwardedFor, []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		"nonsense":                        {"10.0.0.1", ForwardedFor, []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		"nonsense behind one":             {"10.0.0.1", ForwardedFor, []string{"x, 10.0.0.2"}, "10.0.0.2"},
		"empty":                           {"10.0.0.1", ForwardedFor, []string{""}, "10.0.0.1"},
		"empty entries":                   {"10.0.0.1", ForwardedFor, []string{",,"}, "10.0.0.1"},
		"Forwarded":                       {"10.0.0.1", Forwarded, []string{`for=192.0.2.1, proto=https; For="[2001:db8::7]:4711";by=10.0.0.1`}, "2001:db8::7"},
		"Forwarded, hidden":               {"10.0.0.1", Forwarded, []string{"for=_secret"}, "10.0.0.1"},
		"Forwarded without for":           {"10.0.0.1", Forwarded, []string{"proto=https"}, "10.0.0.1"},
		"by PROXY protocol no header is":  {"10.0.0.1", ProxyProtocol, []string{"203.0.113.9"}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			l := New(nil, Options{Config: Config{TrustedProxies: prefixes("10.0.0.0/8", "fd00::/8"), ProxyHeader: c.way}})
			conn := &Conn{listener: l, addr: plain(netip.MustParseAddr(c.peer))}
			r := &http.Request{Header: http.Header{}, RemoteAddr: c.peer}
			r.Header["X-Forwarded-For"] = c.forwarded
			if c.way == Forwarded {
				r.Header = http.Header{"Forwarded": c.forwarded, "X-Forwarded-For": {"192.0.2.66"}}
			}
			if got := conn.Client(r); got.String() != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

func TestShare(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::": "2001:db8:1:2::/64",
	} {
		if got := Share(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	if got := Share(netip.Addr{}); got == "" {
		t.Error("an address that is not known needs a name, too")
	}
}

// TestProxyProtocol: trusted peers say who the client is, in both versions; others cannot.
func TestProxyProtocol(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n"
	var v2 bytes.Buffer
	_, err := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.ParseIP("203.0.113.9"), Port: 1}, &net.TCPAddr{IP: net.ParseIP("10.0.0.1"), Port: 2}).WriteTo(&v2)
	if err != nil {
		t.Fatal(err)
	}
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	trusted := Options{Config: Config{TrustedProxies: prefixes("127.0.0.0/8"), ProxyHeader: ProxyProtocol}}
	s := serve(t, trusted, nil)
	for name, c := range map[string]struct{ begin, want string }{
		"version 1":  {"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n", "203.0.113.9 "},
		"IPv6":       {"PROXY TCP6 2001:db8::7 fd00::1 1 2\r\n", "2001:db8::7 "},
		"version 2":  {v2.String(), "203.0.113.9 "},
		"local":      {local, "127.0.0.1 "},
		"unknown":    {"PROXY UNKNOWN\r\n", "127.0.0.1 "},
		"no header":  {"", "127.0.0.1 "},
		"in pieces ": {"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n" + request, "203.0.113.9 "},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.dial()
			d.send(c.begin)
			d.send(request)
			d.want(200, c.want)
		})
	}
	t.Run("broken", func(t *testing.T) {
		d := s.dial()
		d.send("PROXY TCP4 203.0.113 x\r\n" + request)
		if !d.closed() {
			t.Error("the connection goes on")
		}
		until(t, "it is counted", func() bool { return s.count(ReasonProxy) == 1 })
	})
	t.Run("not trusted", func(t *testing.T) {
		d := serve(t, Options{Config: Config{TrustedProxies: prefixes("10.0.0.0/8"), ProxyHeader: ProxyProtocol}}, nil).dial()
		d.send("PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n" + request)
		d.want(400, "")
	})
}

// FuzzClient: whatever the header says, the address is the peer's, or one that stands in
// it, and behind a peer that is not trusted it is the peer's.
func FuzzClient(f *testing.F) {
	for _, s := range []string{"203.0.113.9", "a, 10.0.0.1", "for=203.0.113.9;by=x", `for="[::1]:1"`, ",", `for="`, "[", "10.0.0.1%eth0, fd00::1%1"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, header string, forwarded bool) {
		way, name := ForwardedFor, "X-Forwarded-For"
		if forwarded {
			way, name = Forwarded, "Forwarded"
		}
		l := New(nil, Options{Config: Config{TrustedProxies: prefixes("10.0.0.0/8"), ProxyHeader: way}})
		r := &http.Request{Header: http.Header{name: {header}}}
		stranger := &Conn{listener: l, addr: netip.MustParseAddr("192.0.2.1")}
		if got := stranger.Client(r); got != stranger.addr {
			t.Errorf("%q: a stranger is %v", header, got)
		}
		proxy := &Conn{listener: l, addr: netip.MustParseAddr("10.0.0.1")}
		got := proxy.Client(r)
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Errorf("%q: %v", header, got)
		}
		if got != proxy.addr && !strings.Contains(header, ".") && !strings.Contains(header, ":") {
			t.Errorf("%q: %v is nowhere in it", header, got)
		}
	})
}
