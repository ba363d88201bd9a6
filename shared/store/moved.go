package store

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	locateFor   = 300 * time.Millisecond // for an answer of one node, which may be the one that is lost
	locateTries = 3
	locateEvery = 200 * time.Millisecond // at most
)

// finder asks where the partitions of a Cluster are, before an error is returned that may
// mean that one has moved: a failure of a link, since a node that is gone answers no MOVED,
// and an answer that this is not, or no longer, the node to ask. So whoever tries again
// asks the right node, and does not wait once more for one that is gone. By itself the
// client asks in the background and only after MOVED, and else every few seconds.
//
// It is a hook of the nodes' clients, and so of lanes and subscriptions, too.
type finder struct {
	cluster *redis.ClusterClient

	mu    sync.Mutex // held while asking: who comes meanwhile waits for the same answer
	asked time.Time  // when the last answer came
}

func findAgain(cluster *redis.ClusterClient) {
	f := &finder{cluster: cluster}
	cluster.OnNewNode(func(node *redis.Client) { node.AddHook(f) })
}

type locating struct{}

func (f *finder) after(ctx context.Context, err error) {
	if !mayHaveMoved(err) || ctx.Value(locating{}) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.asked) < locateEvery {
		return
	}
	locate(ctx, f.cluster)
	f.asked = time.Now()
}

// locate asks where the partitions are. If nobody says, the client goes by what it knew.
func locate(ctx context.Context, cluster *redis.ClusterClient) {
	for range locateTries { // each asks the nodes in another order
		ctx, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), locating{}, true), locateFor)
		_ = cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil })
		inTime := ctx.Err() == nil
		cancel()
		if inTime {
			return
		}
	}
}

// answersOfMove begin the answers of a node that does not have the key, or must not be
// written to.
var answersOfMove = []string{"MOVED", "ASK", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "UNBLOCKED"}

func mayHaveMoved(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) || errors.Is(err, redis.TxFailedErr) || errors.Is(err, redis.ErrClosed) {
		return false
	}
	return !IsReply(err) || slices.ContainsFunc(answersOfMove, func(answer string) bool { return strings.HasPrefix(err.Error(), answer) })
}

func (f *finder) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		f.after(ctx, err)
		return conn, err
	}
}

func (f *finder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		f.after(ctx, err)
		return err
	}
}

func (f *finder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		f.after(ctx, err)
		if err != nil { // the first one, which may be of no account
			for _, cmd := range cmds {
				f.after(ctx, cmd.Err())
			}
		}
		return err
	}
}
