package storetest

import (
	"context"
	"net"
	"regexp"
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
	lose     atomic.Bool // the next reply to a command of the store
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

var clientsOwn = regexp.MustCompile(`\r\n(hello|cluster|command)\r\n`)

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
		var own atomic.Bool // the client's own business, of which the store knows nothing
		go p.pass(server, client, func(request []byte) bool {
			own.Store(clientsOwn.Match(request))
			return true
		})
		go p.pass(client, server, func([]byte) bool { return own.Load() || !p.lose.CompareAndSwap(true, false) })
	}
}

// pass copies until one side ends or keep says no.
func (p *proxy) pass(to, from net.Conn, keep func([]byte) bool) {
	defer p.done.Done()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !keep(buf[:n]) {
			break
		}
		if _, err := to.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}
