package storetest

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy is a link to a Redis. It can lose one reply: the command has run, and who sent
// it sees the connection end.
type proxy struct {
	listener net.Listener
	server   string
	lose     atomic.Bool // the next bytes from the server
	done     sync.WaitGroup
}

// behindProxy is the backend's URL by way of a proxy, which ends with the test.
func behindProxy(t *testing.T, b *Backend) (*proxy, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, _, _ := strings.Cut(strings.TrimPrefix(b.URL, "redis://"), "?")
	p := &proxy{listener: l, server: server}
	p.done.Add(1)
	go p.accept()
	t.Cleanup(func() {
		_ = l.Close()
		p.done.Wait()
	})
	if b.cluster() { // its clients go where the node says that it is
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		must(t, b.Client.ConfigSet(t.Context(), "cluster-announce-port", port).Err())
		t.Cleanup(func() { b.Client.ConfigSet(context.Background(), "cluster-announce-port", "0") })
	}
	return p, strings.Replace(b.URL, server, l.Addr().String(), 1)
}

func (p *proxy) accept() {
	defer p.done.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.done.Add(2)
		go func() {
			defer p.done.Done()
			_, _ = io.Copy(server, client)
			_ = server.Close()
		}()
		go func() {
			defer p.done.Done()
			buf := make([]byte, 64<<10)
			for {
				n, err := server.Read(buf)
				if err != nil || p.lose.CompareAndSwap(true, false) {
					break
				}
				if _, err := client.Write(buf[:n]); err != nil {
					break
				}
			}
			_ = client.Close()
			_ = server.Close()
		}()
	}
}
