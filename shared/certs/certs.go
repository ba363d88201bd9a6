// Package certs reads certificates and keys from files, and again when these change: they are renewed while processes
// run for months.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

// Pair is a certificate, with its chain, and its key, in PEM files. Its methods may be called by any number of
// goroutines.
type Pair struct {
	certFile, keyFile string
	tell              func(Event)

	mu      sync.Mutex
	current *tls.Certificate
	of      stamp // of the files that current was read from
	looked  time.Time
	failure string // why the files as they are now are no use; "" if they are current
}

// Event is that the files have changed.
type Event struct {
	Leaf *x509.Certificate // the certificate that counts from now on; nil: the one before still does
	Err  error             // why; nil if Leaf is not
}

// stamp is by what a change of the files is seen.
type stamp struct{ cert, key fileStamp }

type fileStamp struct {
	changed int64 // Unix time in ns
	size    int64
}

// Load reads a pair. tell is told of later changes, once of each; it must not call the Pair.
func Load(certFile, keyFile string, tell func(Event)) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, tell: tell, looked: time.Now()}
	now, err := p.stamp()
	if err != nil {
		return nil, err
	}
	if p.current, err = p.read(); err != nil {
		return nil, err
	}
	p.of = now
	return p, nil
}

// Certificate is the pair as the files say. If they have changed and are no use now, it is the one before, and they
// are read again until they are: a certificate and its key do not change at the same moment.
func (p *Pair) Certificate() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.looked) >= lookEvery {
		p.looked = now
		p.look()
	}
	return p.current
}

// Leaf is the certificate itself.
func (p *Pair) Leaf() *x509.Certificate { return p.Certificate().Leaf }

// look reads the files if they have changed; p.mu is held.
func (p *Pair) look() {
	now, err := p.stamp()
	if err == nil && now == p.of {
		p.failure = ""
		return
	}
	var fresh *tls.Certificate
	if err == nil {
		fresh, err = p.read()
	}
	if err != nil {
		if text := err.Error(); text != p.failure {
			p.failure = text
			p.tell(Event{Err: err})
		}
		return
	}
	p.current, p.of, p.failure = fresh, now, ""
	p.tell(Event{Leaf: fresh.Leaf})
}

// stamp follows links: a mounted secret changes by where one leads.
func (p *Pair) stamp() (s stamp, err error) {
	for _, f := range []struct {
		name string
		of   *fileStamp
	}{{p.certFile, &s.cert}, {p.keyFile, &s.key}} {
		info, err := os.Stat(f.name)
		if err != nil {
			return s, &FileError{f.name, err}
		}
		*f.of = fileStamp{info.ModTime().UnixNano(), info.Size()}
	}
	return s, nil
}

func (p *Pair) read() (*tls.Certificate, error) {
	cert, err := os.ReadFile(p.certFile)
	if err != nil {
		return nil, &FileError{p.certFile, err}
	}
	key, err := os.ReadFile(p.keyFile)
	if err != nil {
		return nil, &FileError{p.keyFile, err}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &FileError{p.certFile, fmt.Errorf("it is no certificate of the key in %s: %w", p.keyFile, err)}
	}
	return &pair, nil
}

// Pool are the certificates in a PEM file, to believe those that they have signed.
func Pool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &FileError{file, err}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &FileError{file, errors.New("it holds no certificate in PEM")}
	}
	return pool, nil
}

// FileError is about one file.
type FileError struct {
	Name string
	Err  error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("the file %s cannot be used: %v", e.Name, e.Err)
}
func (e *FileError) Unwrap() error { return e.Err }
