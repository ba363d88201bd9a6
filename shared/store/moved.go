package store

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// findAgain makes the client of a Cluster ask where the partitions are after every sign
// that one has moved: a link that fails, since a node that died answers no MOVED, and an
// answer that this is not, or no longer, the node to ask. By itself the client asks only
// after MOVED, not on the connections of lanes, and else every few seconds.
func findAgain(cluster *redis.ClusterClient) {
	cluster.OnNewNode(func(node *redis.Client) { node.AddHook(finder{cluster}) })
}

// finder is a hook of one node's client, and of the connections that are taken from it.
type finder struct{ cluster *redis.ClusterClient }

func (f finder) after(err error) {
	if mayHaveMoved(err) {
		f.cluster.ReloadState(context.Background()) // in the background, five times a second at most
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

func (f finder) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		f.after(err)
		return conn, err
	}
}

func (f finder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		f.after(err)
		return err
	}
}

func (f finder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		f.after(err)
		if err != nil { // the first one, which may be of no account
			for _, cmd := range cmds {
				f.after(cmd.Err())
			}
		}
		return err
	}
}
