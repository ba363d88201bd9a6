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

// nodes are those of a Cluster, as a process has met them by any of its clients.
type nodes struct {
	mu  sync.Mutex
	all map[string]*node // by address
}

// node is one of them. If it was silent for as long as a command may take, it is asked
// whether it answers before it gets another one: a node that is frozen takes connections
// and commands, and each would wait for as long again, also when its replica has long
// become the master.
type node struct {
	silent atomic.Bool
	asking sync.Mutex // held while asking: who comes meanwhile waits for the same answer
	failed time.Time  // when the last asking had no answer
	err    error      // then
}

func (n *nodes) at(addr string) *node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = make(map[string]*node)
	}
	if n.all[addr] == nil {
		n.all[addr] = &node{}
	}
	return n.all[addr]
}

// nodeHook sees what happens to a client's commands for one node, and so those of lanes
// and subscriptions, too.
type nodeHook struct {
	*finder
	*node
	client *redis.Client
}

// awakeFor is how long a silent node may take to answer a PING over a new connection.
const awakeFor = time.Second

func findAgain(cluster *redis.ClusterClient, known *nodes) {
	f := &finder{cluster: cluster}
	cluster.OnNewNode(func(c *redis.Client) { c.AddHook(&nodeHook{f, known.at(c.Options().Addr), c}) })
}

// search asks nodes where the partitions are. It is the value of a context.
type search struct {
	all   bool        // silent nodes are asked, too
	found atomic.Bool // one has answered
}

type searching struct{}

// searchOf is that of a context, nil if nodes are asked for something else.
func searchOf(ctx context.Context) *search {
	s, _ := ctx.Value(searching{}).(*search)
	return s
}

var errSilent = errors.New("the node does not answer")

// before reports whether the node may be asked.
func (n *nodeHook) before(ctx context.Context) error {
	if !n.silent.Load() {
		return nil
	}
	if s := searchOf(ctx); s != nil {
		if s.all {
			return nil
		}
		return errSilent // others know as well where the partitions are
	}
	came := time.Now()
	n.asking.Lock()
	defer n.asking.Unlock()
	switch {
	case !n.silent.Load():
		return nil
	case n.failed.After(came):
		return n.err
	}
	o := *n.client.Options()
	o.PoolSize, o.MinIdleConns = 1, 0
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = awakeFor, awakeFor, awakeFor
	probe := redis.NewClient(&o)
	defer func() { _ = probe.Close() }()
	ctx, cancel := context.WithTimeout(ctx, awakeFor)
	defer cancel()
	err := probe.Ping(ctx).Err()
	if err != nil && !IsReply(err) {
		n.failed, n.err = time.Now(), fmt.Errorf("node %s does not answer: %w", o.Addr, err)
		return n.err
	}
	n.silent.Store(false)
	return nil
}

// after looks whether an error may mean that the node is not the one to ask.
func (n *nodeHook) after(ctx context.Context, err error) {
	if !mayHaveMoved(err) || searchOf(ctx) != nil {
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
	for try := range locateTries { // each asks the nodes in another order
		s := &search{all: try > 0}
		ctx, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), searching{}, s), locateFor)
		_ = cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil })
		cancel()
		if s.found.Load() {
			return
		}
	}
}

// answersOfMove begin the answers of a node that does not have the key, must not be
// written to, or gets other data now.
var answersOfMove = []string{"MOVED", "ASK", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "UNBLOCKED", "LOADING"}

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
		if s := searchOf(ctx); s != nil && err == nil {
			s.found.Store(true)
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
