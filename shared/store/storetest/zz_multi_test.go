package storetest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func multi(tb testing.TB) *Backend {
	ctx := context.Background()
	var nodes []*Server
	var addrs []string
	for i := range 3 {
		bus := freePort(tb)
		s := Redis(tb, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-port", strconv.Itoa(bus))
		s.cluster = true
		lo, hi := i*5461, i*5461+5460
		if i == 2 {
			hi = 16383
		}
		if err := s.client.ClusterAddSlotsRange(ctx, lo, hi).Err(); err != nil {
			tb.Fatal(err)
		}
		if i > 0 {
			if err := nodes[0].client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(s.port), strconv.Itoa(bus)).Err(); err != nil {
				tb.Fatal(err)
			}
		}
		nodes = append(nodes, s)
		addrs = append(addrs, s.Addr())
	}
	for _, s := range nodes {
		Eventually(tb, func() error {
			info := s.client.ClusterInfo(ctx).Val()
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_assigned:16384") || !strings.Contains(info, "cluster_known_nodes:3") {
				return fmt.Errorf("%s", info)
			}
			return nil
		})
	}
	cc := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, Protocol: 2})
	tb.Cleanup(func() { cc.Close() })
	return &Backend{URL: "redis://" + strings.Join(addrs, ","), Client: cc, Server: nodes[0]}
}

func TestMulti(t *testing.T) { Run(t, multi) }
