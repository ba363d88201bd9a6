package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// leastVersion is the oldest major version of Redis that has every command in the form that is used here.
const leastVersion = 7

// ErrUnfit says that Redis is too old, or set up so that it would lose events without a word. It can be set up otherwise while
// it runs: Await goes on asking.
var ErrUnfit = errors.New("this Redis cannot be trusted with events")

// fitness is what is wrong with how Redis is set up.
type fitness struct {
	err      error    // it cannot be used
	warnings []string // it should be changed
}

// fits looks how the nodes are set up, as far as they answer and tell (INFO).
func (s *Store) fits(ctx context.Context) error {
	nodes, err := s.masters(ctx)
	if err != nil {
		return err
	}
	f := &fitness{}
	defer s.fit.Store(f)
	for _, node := range nodes {
		text, err := node.Info(ctx).Result()
		if err != nil {
			continue
		}
		unfit, warning := judgeNode(infoOf(text))
		if unfit != "" {
			f.err = fmt.Errorf("%w: %s %s", ErrUnfit, node.Options().Addr, unfit)
		}
		if warning != "" {
			f.warnings = append(f.warnings, "Redis at "+node.Options().Addr+" "+warning)
		}
	}
	return f.err
}

// Warnings are what should be changed in how Redis is set up, as Ready saw it.
func (s *Store) Warnings() []string {
	if f := s.fit.Load(); f != nil {
		return f.warnings
	}
	return nil
}

// judgeNode says why a node cannot be used, and what is wrong with it. What a node does not tell is taken for good: the
// embedded Redis tells nothing.
func judgeNode(info map[string]string) (unfit, warning string) {
	version := info["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < leastVersion {
		return fmt.Sprintf("is Redis %s, and %d.0 is needed", version, leastVersion), ""
	}
	if m := memoryIn(info); m.Evicts() {
		return fmt.Sprintf("takes keys away when its memory is full, events among them (maxmemory-policy %s): set it to noeviction", m.Policy), ""
	}
	if info["aof_enabled"] == "0" {
		return "", "has no append-only file (appendonly no): a crash loses the events since its last snapshot"
	}
	return "", ""
}

// Evicts reports whether a node whose memory is full takes keys away, in place of refusing to write.
func (m Memory) Evicts() bool { return m.Max > 0 && m.Policy != "" && m.Policy != "noeviction" }

// masters are the nodes that hold partitions.
func (s *Store) masters(ctx context.Context) (nodes []*redis.Client, err error) {
	switch rdb := s.rdb.(type) {
	case *redis.ClusterClient:
		for p := range s.cfg.Partitions {
			node, err := s.masterOf(ctx, rdb, p)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(nodes, node) {
				nodes = append(nodes, node)
			}
		}
	case *redis.Client:
		nodes = append(nodes, rdb)
	}
	return nodes, nil
}

func (s *Store) masterOf(ctx context.Context, rdb *redis.ClusterClient, partition int) (*redis.Client, error) {
	node, err := rdb.MasterForKey(ctx, s.keys.events(partition))
	if err != nil {
		return nil, fmt.Errorf("cannot find the node of partition %d: %w", partition, err)
	}
	return node, nil
}

// infoOf are the fields of an answer to INFO.
func infoOf(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}
