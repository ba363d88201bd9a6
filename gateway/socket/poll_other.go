//go:build !linux || sluice_goroutines

package socket

import (
	"context"
	"net"
)

// There is no epoll: every socket has a goroutine.
type poller struct{}

func newPoller(*Group) (*poller, error) { return nil, nil }

func (*poller) link(net.Conn, *Conn) link { return nil }

func (*poller) run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (*poller) close() {}

func (*poller) together(f func()) { f() }

type vector struct{}
