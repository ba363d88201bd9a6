package storetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
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
	dir := tb.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	x := &TLS{
		port: FreePort(tb), CAFile: file("ca.pem"), CertFile: file("client.pem"), KeyFile: file("client.key"),
		serverCert: file("server.pem"), serverKey: file("server.key"),
	}
	ca, key := certify(tb, nil, nil, x.CAFile, file("ca.key"))
	certify(tb, ca, key, x.CertFile, x.KeyFile)
	certify(tb, ca, key, x.serverCert, x.serverKey)
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

// certify writes a certificate and its key. Without a signer it signs itself.
func certify(tb testing.TB, by *x509.Certificate, with *ecdsa.PrivateKey, certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: filepath.Base(certFile)}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
	}
	if by == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		by, with = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, with)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}
