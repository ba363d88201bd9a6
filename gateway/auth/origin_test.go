package auth

import (
	"net/http"
	"testing"
)

func TestOriginAllowed(t *testing.T) {
	const host = "gw.example.com"
	list := []string{"https://app.example.com", " https://*.example.org ", "http://localhost:3000", "https://[2001:DB8::0:1]:8443", "capacitor://localhost", ""}
	tests := []struct {
		name   string
		list   []string
		host   string
		origin []string
		want   bool
	}{
		{"no origin", nil, host, nil, true},
		{"same", nil, host, []string{"https://gw.example.com"}, true},
		{"same, http", nil, host, []string{"http://gw.example.com"}, true},
		{"same, other case", nil, "GW.example.com", []string{"HTTPS://gw.EXAMPLE.com"}, true},
		{"same port", nil, host + ":8080", []string{"http://gw.example.com:8080"}, true},
		{"default port in host", nil, host + ":443", []string{"https://gw.example.com"}, true},
		{"default port in origin", nil, host, []string{"http://gw.example.com:80"}, true},
		{"default port of the other scheme", nil, host + ":443", []string{"http://gw.example.com"}, false},
		{"other port", nil, host + ":8080", []string{"http://gw.example.com:8081"}, false},
		{"other port, none", nil, host + ":8080", []string{"http://gw.example.com"}, false},
		{"IPv6", nil, "[::1]:8080", []string{"http://[::1]:8080"}, true},
		{"other host", nil, host, []string{"https://evil.example"}, false},
		{"subdomain of ours", nil, host, []string{"https://x.gw.example.com"}, false},
		{"host continues ours", nil, host, []string{"https://gw.example.com.evil.example"}, false},
		{"ours as user", nil, host, []string{"https://gw.example.com@evil.example"}, false},
		{"ours with a path", nil, host, []string{"https://gw.example.com/"}, false},
		{"ours with a query", nil, host, []string{"https://gw.example.com?"}, false},
		{"without scheme", nil, host, []string{"gw.example.com"}, false},
		{"app of our host's name", nil, "localhost", []string{"capacitor://localhost"}, false},
		{"null", nil, host, []string{"null"}, false},
		{"null as host", nil, "null", []string{"null"}, false},
		{"empty", nil, host, []string{""}, false},
		{"empty host", nil, "", []string{"https://"}, false},
		{"two origins", nil, host, []string{"https://gw.example.com", "https://evil.example"}, false},
		{"two origins in one", nil, host, []string{"https://gw.example.com https://evil.example"}, false},
		{"not ASCII (Kelvin sign)", nil, "k.example", []string{"https://\u212a.example"}, false},
		{"a wildcard sent as origin", list, host, []string{"https://*.example.org"}, false},

		{"listed: same still may", list, host, []string{"https://gw.example.com"}, true},
		{"listed", list, host, []string{"https://app.example.com"}, true},
		{"listed, with default port", list, host, []string{"https://app.example.com:443"}, true},
		{"listed, other scheme", list, host, []string{"http://app.example.com"}, false},
		{"listed, other port", list, host, []string{"https://app.example.com:8443"}, false},
		{"not listed", list, host, []string{"https://evil.example"}, false},
		{"listed with port", list, host, []string{"http://localhost:3000"}, true},
		{"listed with port, none", list, host, []string{"http://localhost"}, false},
		{"listed IPv6 in another spelling", list, host, []string{"https://[2001:db8::1]:8443"}, true},
		{"listed app", list, host, []string{"capacitor://localhost"}, true},
		{"wildcard", list, host, []string{"https://a.example.org"}, true},
		{"wildcard, other case", list, host, []string{"https://A.Example.ORG"}, true},
		{"wildcard is not the domain itself", list, host, []string{"https://example.org"}, false},
		{"wildcard is one label", list, host, []string{"https://a.b.example.org"}, false},
		{"wildcard is no empty label", list, host, []string{"https://.example.org"}, false},
		{"wildcard ends at a dot", list, host, []string{"https://evilexample.org"}, false},
		{"wildcard, other port", list, host, []string{"https://a.example.org:8443"}, false},
		{"listed, but two origins", list, host, []string{"https://app.example.com", "https://app.example.com"}, false},

		{"any", []string{"*"}, host, []string{"https://evil.example"}, true},
		{"any: null", []string{"*"}, host, []string{"null"}, true},
		{"any beside others", []string{"https://a.example", "*"}, host, []string{"https://evil.example"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVerifier(t, Config{Mode: ModeJWT, JWTSecret: testSecret, AllowedOrigins: tt.list})
			r := &http.Request{Host: tt.host, Header: header{"Origin": tt.origin}}
			if got := v.OriginAllowed(r); got != tt.want {
				t.Errorf("origin %q at host %q: got %t", tt.origin, tt.host, got)
			}
		})
	}
}

func TestOriginAllowedInDevMode(t *testing.T) {
	rebound := &http.Request{Host: "evil.example:8080", Header: header{"Origin": {"http://evil.example:8080"}}}
	withoutOrigin := &http.Request{Host: "evil.example:8080"}
	tests := []struct {
		name     string
		anywhere bool
		request  *http.Request
		want     bool
	}{
		{"localhost", false, &http.Request{Host: "localhost:8080", Header: header{"Origin": {"http://localhost:8080"}}}, true},
		{"127.0.0.1", false, &http.Request{Host: "127.0.0.1:8080", Header: header{"Origin": {"http://127.0.0.1:8080"}}}, true},
		{"::1 without origin", false, &http.Request{Host: "[::1]:8080"}, true},
		{"foreign page", false, &http.Request{Host: "localhost:8080", Header: header{"Origin": {"http://evil.example"}}}, false},
		{"page on another local port", false, &http.Request{Host: "localhost:8080", Header: header{"Origin": {"http://localhost:3000"}}}, false},
		{"rebound name", false, rebound, false},
		{"rebound name, a GET that has no origin", false, withoutOrigin, false},
		{"no host", false, &http.Request{}, false},
		{"anywhere, localhost", true, &http.Request{Host: "localhost:8080"}, true},
		{"anywhere, an address", true, &http.Request{Host: "10.1.2.3:8080", Header: header{"Origin": {"http://10.1.2.3:8080"}}}, true},
		{"anywhere, an IPv6 address", true, &http.Request{Host: "[2001:db8::1]:8080"}, true},
		{"anywhere, rebound name", true, rebound, false},
		{"anywhere, rebound name, a GET that has no origin", true, withoutOrigin, false},
		{"anywhere, a name that begins like an address", true, &http.Request{Host: "10.1.2.3.evil.example:8080"}, false},
		{"anywhere, no host", true, &http.Request{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVerifier(t, Config{Mode: ModeDev, DevAnywhere: tt.anywhere})
			if got := v.OriginAllowed(tt.request); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// TestHostsInDevMode: the hosts of allowed origins are known.
func TestHostsInDevMode(t *testing.T) {
	v := newVerifier(t, Config{Mode: ModeDev, DevAnywhere: true, AllowedOrigins: []string{"http://dev.example", "https://*.lab.example:8443"}})
	for host, want := range map[string]bool{
		"dev.example": true, "dev.example:8080": true, "DEV.example": true, "a.lab.example": true,
		"evil.example": false, "x.dev.example": false, "lab.example": false, "a.b.lab.example": false, "": false, "dev.example:x": false,
	} {
		if got := v.OriginAllowed(&http.Request{Host: host}); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
	if v := newVerifier(t, Config{Mode: ModeDev, AllowedOrigins: []string{"*"}}); !v.OriginAllowed(&http.Request{Host: "any.example"}) {
		t.Error("where every page may connect its host is refused")
	}
	if v := newVerifier(t, Config{Mode: ModeJWT, JWTSecret: testSecret}); !v.OriginAllowed(&http.Request{Host: "any.example"}) {
		t.Error("with tokens that are secret the host does not matter")
	}
}

func TestParseAllowedRefuses(t *testing.T) {
	for _, entry := range []string{
		"app.example.com", "app.example.com:443", "https://", "https:///", "https://app.example.com/", "https://app.example.com/path",
		"https://app.example.com?", "https://app.example.com#", "https://user@app.example.com", "//app.example.com", "null", "**",
		"https://*", "https://*.", "https://a.*.example.com", "https://*.*.example.com", "https://*app.example.com", "*://app.example.com", "*.example.com",
		"https://app.example.com:", "https://app.example.com:0", "https://app.example.com:0443", "https://app.example.com:65536", "https://app.example.com:http",
		"https://app example.com", "https://%61pp.example.com", "https://bücher.example", "https://[::1", "https://[fe80::1%25eth0]", "https://[::1]x",
		"https://a.example https://b.example", "https://*.[::1]", "https://[127.0.0.1]",
	} {
		list, err := parseAllowed([]string{entry})
		if err == nil {
			t.Errorf("%q accepted as %+v", entry, list)
			continue
		}
		checkSentence(t, err, []string{"SLUICE_ALLOWED_ORIGINS", "https://app.example.com"})
	}
}

func FuzzParseOrigin(f *testing.F) {
	for _, s := range []string{"https://app.example.com", "http://[::1]:8080", "HTTP://A:80", "null", "https://user@x", "capacitor://localhost", "https://\u212a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, ok := parseOrigin(s)
		if !ok {
			return
		}
		// The one spelling of an origin is an origin too, and the same one.
		host := o.host
		if net6 := len(host) > 0 && !validHost(host); net6 {
			host = "[" + host + "]"
		}
		spelling := o.scheme + "://" + host
		if o.port != "" {
			spelling += ":" + o.port
		}
		if again, ok := parseOrigin(spelling); !ok || again != o {
			t.Errorf("%q is %+v, but its spelling %q is %+v, %t", s, o, spelling, again, ok)
		}
	})
}
