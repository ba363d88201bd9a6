package certs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/shared/certs"
	"sluice/shared/testkit"
)

// writes are how many files were written: each has its own time, as files of people have.
var writes int

// write makes a certificate for a name with a key of its own, and writes one of both, or both.
func write(t *testing.T, dir, name string, cert, key bool) {
	t.Helper()
	certFile, keyFile := testkit.NewAuthority(t).Issue(t, name)
	put := func(from string) {
		text, err := os.ReadFile(from)
		path := filepath.Join(dir, filepath.Base(from))
		writes++
		at := time.Unix(int64(1_000_000_000+writes), 0)
		if err = errors.Join(err, os.WriteFile(path, text, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if cert {
		put(certFile)
	}
	if key {
		put(keyFile)
	}
}

// TestReload: files that change are read again; while they are no use the certificate from before counts, and that is
// told once.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	synctest.Test(t, func(t *testing.T) {
		write(t, dir, "one", true, true)
		var told []string
		p, err := certs.Load(cert, key, func(e certs.Event) {
			if e.Err != nil {
				told = append(told, e.Err.Error())
				return
			}
			told = append(told, e.Leaf.DNSNames[0])
		})
		if err != nil {
			t.Fatal(err)
		}
		shows := func(when, name string, tells ...string) {
			t.Helper()
			for range 3 {
				time.Sleep(1001 * time.Millisecond)
				if got := p.Certificate().Leaf.DNSNames[0]; got != name {
					t.Fatalf("%s: the certificate of %s, want that of %s", when, got, name)
				}
			}
			if len(told) != len(tells) {
				t.Fatalf("%s: told %q, want %q", when, told, tells)
			}
			for i, part := range tells {
				if !strings.Contains(told[i], part) {
					t.Errorf("%s: told %q, want %q", when, told[i], part)
				}
			}
			told = nil
		}
		shows("at first", "one")
		write(t, dir, "two", true, true)
		shows("both changed", "two", "two")
		write(t, dir, "three", true, false)
		shows("a certificate without its key", "two", "it is no certificate of the key")
		write(t, dir, "four", true, true)
		shows("both again", "four", "four")
		if err := os.WriteFile(cert, []byte("half a certifi"), 0o600); err != nil {
			t.Fatal(err)
		}
		shows("rubbish", "four", "cert.pem")
		if err := os.Remove(cert); err != nil {
			t.Fatal(err)
		}
		shows("gone", "four", "no such file")
		write(t, dir, "five", true, true)
		shows("there again", "five", "five")
	})
}

// TestLookedAtOnceASecond: handshakes do not read files.
func TestLookedAtOnceASecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write(t, dir, "one", true, true)
		p, err := certs.Load(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), func(certs.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, "two", true, true)
		if got := p.Leaf().DNSNames[0]; got != "one" {
			t.Errorf("at once: %s", got)
		}
		time.Sleep(time.Second)
		if got := p.Leaf().DNSNames[0]; got != "two" {
			t.Errorf("after a second: %s", got)
		}
	})
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key, none := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "none.pem")
	write(t, dir, "one", true, true)
	for _, files := range [][2]string{{none, key}, {cert, none}, {key, key}, {cert, cert}, {dir, key}} {
		if _, err := certs.Load(files[0], files[1], nil); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v: %v", files, err)
		}
	}
	if _, err := certs.Pool(cert); err != nil {
		t.Error(err)
	}
	for _, file := range []string{none, key, dir} {
		if _, err := certs.Pool(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
