package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Memory is how much memory a node of Redis uses.
type Memory struct {
	Used, Max int64  // bytes, as Redis compares them; Max 0: there is no bound
	Policy    string // maxmemory-policy; "": it is not known
}

// Share is the part of its bound that is used, 0 if there is none. From 1 on Redis refuses
// to write.
func (m Memory) Share() float64 {
	if m.Max <= 0 {
		return 0
	}
	return float64(m.Used) / float64(m.Max)
}

// Short reports whether so much of the memory is used that what clients publish is refused.
func (s *Store) Short(m Memory) bool {
	return s.cfg.MemoryPercent > 0 && m.Share()*100 > float64(s.cfg.MemoryPercent)
}

// Memory asks for the memory of the nodes of all partitions, by partition.
func (s *Store) Memory(ctx context.Context) ([]Memory, error) {
	all := make([]Memory, s.cfg.Partitions)
	cluster, several := s.rdb.(*redis.ClusterClient)
	known := make(map[redis.Cmdable]Memory)
	for p := range all {
		var node redis.Cmdable = s.rdb
		if several {
			master, err := s.masterOf(ctx, cluster, p)
			if err != nil {
				return nil, err
			}
			node = master
		}
		m, asked := known[node]
		if !asked {
			var err error
			if m, err = memoryOf(ctx, node); err != nil {
				return nil, err
			}
			known[node] = m
		}
		all[p] = m
	}
	return all, nil
}

// memoryOf asks one node. The embedded Redis has no bound, and does not tell.
func memoryOf(ctx context.Context, node redis.Cmdable) (Memory, error) {
	text, err := node.Info(ctx, "memory").Result()
	if err != nil {
		if IsReply(err) && strings.Contains(err.Error(), "not supported") {
			return Memory{}, nil
		}
		return Memory{}, fmt.Errorf("cannot read how much memory Redis uses (INFO memory): %w", err)
	}
	return memoryIn(infoOf(text)), nil
}

// memoryIn is what the fields of INFO say of a node's memory.
func memoryIn(info map[string]string) Memory {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(info[name], 10, 64)
		return n
	}
	used := number("used_memory") - number("mem_not_counted_for_evict") // without the buffers of replicas and of the append-only file
	return Memory{Used: max(0, used), Max: number("maxmemory"), Policy: info["maxmemory_policy"]}
}

// Shrinking goes through all histories, step by step, and trims those that have more bytes
// than they may.
type Shrinking struct {
	next map[string]uint64 // by node: where the next step begins
	over map[string]bool   // nodes that are done
}

// ShrinkHistories does a step on each node: some histories are trimmed to so many bytes,
// the newest event of each stays. through: now all have been looked at, and the next step
// begins again. It needs no memory: it is for when there is none.
func (s *Store) ShrinkHistories(ctx context.Context, most int64, at *Shrinking) (through bool, err error) {
	if at.next == nil {
		at.next, at.over = make(map[string]uint64), make(map[string]bool)
	}
	nodes, err := s.masters(ctx)
	if err != nil {
		return false, err
	}
	through = true
	for _, node := range nodes {
		name := node.String()
		if at.over[name] {
			continue
		}
		if at.next[name], err = s.shrinkOn(ctx, node, most, at.next[name]); err != nil {
			return false, err
		}
		at.over[name] = at.next[name] == 0
		through = through && at.over[name]
	}
	if through {
		clear(at.over)
	}
	return through, nil
}

// scanKeys are the keys that Redis looks at in one step: some milliseconds.
const scanKeys = 5000

func (s *Store) shrinkOn(ctx context.Context, node *redis.Client, most int64, from uint64) (next uint64, err error) {
	keys, next, err := node.Scan(ctx, from, globEscape(s.keys.prefix)+"{*}:history:*", scanKeys).Result()
	if err != nil {
		return from, fmt.Errorf("cannot look for histories: %w", err)
	}
	calls := make([]call, len(keys))
	for i, k := range keys {
		calls[i] = call{[]string{k}, []any{most, most}}
	}
	if _, err := runAll(ctx, node, trimHistory, calls, isWrongType); err != nil {
		return from, fmt.Errorf("cannot shorten histories: %w", err)
	}
	return next, nil
}

// globEscape makes a text that matches only itself.
func globEscape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(text)
}
