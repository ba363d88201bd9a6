package storetest

import (
	"strconv"
	"strings"
	"testing"

	"sluice/shared/store"
	"sluice/shared/testkit"
)

// TLS is what a redis-server that speaks TLS, too, and its clients need. The server asks
// for the clients' certificates.
type TLS struct {
	port                  int
	CAFile                string
	CertFile, KeyFile     string // of clients
	serverCert, serverKey string
}

// NewTLS makes certificates. They end with the test.
func NewTLS(tb testing.TB) *TLS {
	tb.Helper()
	ca := testkit.NewAuthority(tb)
	x := &TLS{port: testkit.FreePort(tb), CAFile: ca.File}
	x.CertFile, x.KeyFile = ca.Issue(tb, "client")
	x.serverCert, x.serverKey = ca.Issue(tb, "server")
	return x
}

// Options are those of the redis-server.
func (x *TLS) Options() []string {
	return []string{
		"--tls-port", strconv.Itoa(x.port), "--tls-cert-file", x.serverCert, "--tls-key-file", x.serverKey, "--tls-ca-cert-file", x.CAFile,
	}
}

// Configure makes a configuration of the store one over TLS.
func (x *TLS) Configure(c *store.Config) {
	_, options, _ := strings.Cut(c.RedisURL, "?")
	c.RedisURL = As(Everybody, "rediss://127.0.0.1:"+strconv.Itoa(x.port))
	if options != "" {
		c.RedisURL += "?" + options
	}
	c.RedisCAFile, c.RedisCertFile, c.RedisKeyFile = x.CAFile, x.CertFile, x.KeyFile
}
