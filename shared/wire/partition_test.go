package wire_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"sluice/shared/wire"
)

type partitionFile struct {
	About   string `json:"about"`
	Targets []struct {
		Target     string         `json:"target"`
		CRC16      int            `json:"crc16"`
		Partitions map[string]int `json:"partitions"` // number of partitions to partition
	} `json:"targets"`
}

func TestPartitions(t *testing.T) {
	var golden partitionFile
	readGolden(t, "partitions.json", &golden)
	if len(golden.Targets) < 10 {
		t.Fatalf("only %d targets", len(golden.Targets))
	}
	for _, g := range golden.Targets {
		if got := wire.Partition(g.Target, 1<<16); got != g.CRC16 {
			t.Errorf("%q: crc16 %#x, want %#x", g.Target, got, g.CRC16)
		}
		for partitions, want := range g.Partitions {
			n, err := strconv.Atoi(partitions)
			if err != nil {
				t.Fatal(err)
			}
			if got := wire.Partition(g.Target, n); got != want {
				t.Errorf("%q of %d: partition %d, want %d", g.Target, n, got, want)
			}
		}
	}
}

func TestTags(t *testing.T) {
	if got := strings.Join(wire.Tags(16), " "); got != "10 3 61 43 11 2 60 42 12 1 63 41 13 0 62 40" {
		t.Errorf("tags of 16 partitions: %s", got)
	}
	for _, partitions := range []int{1, 2, 5, 12, 16, 100, 1000, 1024} {
		tags := wire.Tags(partitions)
		smallest := make(map[int]string)
		for n := 0; len(smallest) < partitions; n++ {
			tag := strconv.Itoa(n)
			if p := hashSlot(tag) * partitions / 16384; smallest[p] == "" {
				smallest[p] = tag
			}
		}
		for p, tag := range tags {
			if tag != smallest[p] {
				t.Errorf("partition %d of %d has tag %q, want %q", p, partitions, tag, smallest[p])
			}
		}
	}
}

func hashSlot(tag string) int { return wire.Partition(tag, 16384) }

// TestShares spreads partitions over nodes with equal ranges of slots. Where the number of
// partitions is a multiple of that of the nodes all have the same. Else a range of slots
// begins or ends within those of a partition, whose tag lies on one side or the other: a
// node has at most one partition more or less than a fair share.
func TestShares(t *testing.T) {
	// With 16 partitions that happens with these numbers of nodes only.
	unfair := map[string]bool{"16 over 5": true, "16 over 13": true, "16 over 14": true, "16 over 15": true}
	for _, partitions := range []int{1, 4, 8, 12, 16, 24, 32, 60, 64, 100, 256, 1024} {
		tags := wire.Tags(partitions)
		for nodes := 2; nodes <= 16; nodes++ {
			name := fmt.Sprintf("%d over %d", partitions, nodes)
			least, most := partitions/nodes, (partitions+nodes-1)/nodes
			if unfair[name] || partitions != 16 && least != most {
				least, most = least-1, most+1
			}
			shares := make([]int, nodes)
			for _, tag := range tags {
				node := 0
				for hashSlot(tag) >= (node+1)*16384/nodes {
					node++
				}
				shares[node]++
			}
			for _, n := range shares {
				if n < least || n > most {
					t.Errorf("%s nodes: the shares are %v, want %d to %d", name, shares, least, most)
					break
				}
			}
		}
	}
}
