package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
type finder struct {
	cluster *redis.ClusterClient

	mu    sync.Mutex // held while asking: who comes meanwhile waits for the same answer
	asked time.Time  // when the last answer came
}

// nodeHook sees what happens to the commands for one node, and so those of lanes and
// subscriptions, too. A node that was silent for as long as a command may take is asked
// whether it answers before it gets another one: a node that is frozen takes connections
// and commands, and each would wait for as long again, also when its replica has long
// become the master.
type nodeHook struct {
	*finder
	node   *redis.Client
	silent atomic.Bool
	asking sync.Mutex // who comes meanwhile waits for the same answer
}

// awakeFor is how long a silent node may take to answer a PING over a new connection.
const awakeFor = time.Second

func findAgain(cluster *redis.ClusterClient) {
	f := &finder{cluster: cluster}
	cluster.OnNewNode(func(node *redis.Client) { node.AddHook(&nodeHook{finder: f, node: node}) })
}

type locating struct{}

// before reports whether the node may be asked.
func (n *nodeHook) before(ctx context.Context) error {
	if !n.silent.Load() || ctx.Value(locating{}) != nil {
		return nil
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	if !n.silent.Load() {
		return nil
	}
	o := *n.node.Options()
	o.PoolSize, o.MinIdleConns = 1, 0
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = awakeFor, awakeFor, awakeFor
	probe := redis.NewClient(&o)
	defer func() { _ = probe.Close() }()
	ctx, cancel := context.WithTimeout(ctx, awakeFor)
	defer cancel()
	err := probe.Ping(ctx).Err()
	if err != nil && !IsReply(err) {
		return fmt.Errorf("node %s does not answer: %w", o.Addr, err)
	}
	n.silent.Store(false)
	return nil
}

// after looks whether an error may mean that the node is not the one to ask.
func (n *nodeHook) after(ctx context.Context, err error) {
	if !mayHaveMoved(err) || ctx.Value(locating{}) != nil {
		return
	}
	if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
		n.silent.Store(true)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.asked) < locateEvery {
		return
	}
	locate(ctx, n.cluster)
	n.asked = time.Now()
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

func (n *nodeHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := net.Conn(nil), n.before(ctx)
		if err == nil {
			conn, err = next(ctx, network, addr)
		}
		n.after(ctx, err)
		return conn, err
	}
}

func (n *nodeHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := n.before(ctx)
		if err == nil {
			err = next(ctx, cmd)
		} else {
			cmd.SetErr(err)
		}
		n.after(ctx, err)
		return err
	}
}

func (n *nodeHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := n.before(ctx)
		if err == nil {
			err = next(ctx, cmds)
		} else {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		n.after(ctx, err)
		if err != nil { // the first one, which may be of no account
			for _, cmd := range cmds {
				n.after(ctx, cmd.Err())
			}
		}
		return err
	}
}
