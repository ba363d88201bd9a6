package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// anyOrigin in the list lets pages from everywhere connect.
const anyOrigin = "*"

// defaultPorts are left out by browsers.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// origin is a web origin (RFC 6454) in one spelling: lower case, and no default port. So == compares origins.
type origin struct {
	scheme string
	host   string // without brackets if an IPv6 address
	port   string // "" for the scheme's own
}

// allowedOrigin is an entry of SLUICE_ALLOWED_ORIGINS.
type allowedOrigin struct {
	any bool
	// subdomain: the host of the entry is what follows the *. of https://*.example.com. As in certificates, the star
	// is exactly one label.
	subdomain bool
	origin
}

func (a allowedOrigin) matches(o origin) bool {
	return a.hasHost(o.host) && a.scheme == o.scheme && a.port == o.port
}

func (a allowedOrigin) hasHost(host string) bool {
	if !a.subdomain {
		return a.host == host
	}
	label, parent, _ := strings.Cut(host, ".")
	return label != "" && a.host == parent
}

// OriginAllowed says whether a handshake may come from where it comes. Requests without an Origin header may, since
// browsers send it along with every WebSocket handshake; pages of the gateway's own origin may, and those of
// SLUICE_ALLOWED_ORIGINS. A proxy in front of the gateway has to pass on the Host header, else no page is of the
// gateway's own origin.
//
// In dev mode the Host must be known as well, whatever the Origin.
func (v *Verifier) OriginAllowed(r *http.Request) bool {
	if v.config.Mode == ModeDev && !v.hostKnown(r.Host) {
		return false
	}
	header := r.Header.Values("Origin")
	if len(header) == 0 {
		return true
	}
	o, ok := parseOrigin(header[0]) // not so: null, of sandboxed pages
	ok = ok && len(header) == 1
	if ok && isSameOrigin(o, r.Host) {
		return true
	}
	for _, allowed := range v.origins {
		if allowed.any || ok && allowed.matches(o) {
			return true
		}
	}
	return false
}

// hostKnown says whether a request asks for us by localhost, by an address, or by the host of an entry of
// SLUICE_ALLOWED_ORIGINS. In dev mode tokens are no secret, and a foreign page whose name was made to resolve to our
// address (DNS rebinding) is to the browser of one origin with us: but it asks for us by that name.
func (v *Verifier) hostKnown(requestHost string) bool {
	own, ok := parseOrigin("http://" + requestHost)
	if !ok {
		return false
	}
	if _, err := netip.ParseAddr(own.host); err == nil || isLoopback(own.host) {
		return true
	}
	return slices.ContainsFunc(v.origins, func(a allowedOrigin) bool { return a.any || a.hasHost(own.host) })
}

// isSameOrigin compares host and port only: behind a proxy that ends TLS we do not know under which scheme the
// browser reached us. Its Origin says which port is the default.
func isSameOrigin(o origin, requestHost string) bool {
	if defaultPorts[o.scheme] == "" {
		return false // of an app or an extension, whose host is no address
	}
	own, ok := parseOrigin(o.scheme + "://" + requestHost)
	return ok && own == o
}

// parseAllowed reads SLUICE_ALLOWED_ORIGINS. Empty entries, as a trailing comma makes them, are skipped.
func parseAllowed(entries []string) ([]allowedOrigin, error) {
	var list []allowedOrigin
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		if entry == anyOrigin {
			list = append(list, allowedOrigin{any: true})
			continue
		}
		scheme, host, _ := strings.Cut(entry, "://")
		host, subdomain := strings.CutPrefix(host, "*.")
		o, ok := parseOrigin(scheme + "://" + host)
		if !ok || subdomain && strings.Contains(o.host, ":") { // an IPv6 address has no subdomains
			return nil, fmt.Errorf("SLUICE_ALLOWED_ORIGINS holds %q: each entry must be an origin like https://app.example.com "+
				"or https://*.example.com:8443 (scheme and host, no path, international names as xn--...), or * for any", entry)
		}
		list = append(list, allowedOrigin{subdomain: subdomain, origin: o})
	}
	return list, nil
}

// parseOrigin reads scheme://host[:port], in ASCII, and nothing more than that.
func parseOrigin(s string) (origin, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || !strings.EqualFold(s, u.Scheme+"://"+u.Host) {
		return origin{}, false // not a URL, or one that has more parts or is percent-encoded
	}
	o := origin{scheme: u.Scheme, port: u.Port()}
	if strings.HasPrefix(u.Host, "[") {
		ip, err := netip.ParseAddr(u.Hostname())
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return origin{}, false
		}
		o.host = ip.String()
	} else {
		if !validHost(u.Hostname()) { // before ToLower, which makes ASCII of some other characters
			return origin{}, false
		}
		o.host = strings.ToLower(u.Hostname())
	}
	if !validPort(o.port) || strings.HasSuffix(u.Host, ":") {
		return origin{}, false
	}
	if o.port == defaultPorts[o.scheme] {
		o.port = ""
	}
	return o, true
}

func validHost(s string) bool {
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return s != ""
}

// validPort accepts no port, and ports as browsers write them.
func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}
