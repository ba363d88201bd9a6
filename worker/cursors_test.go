package worker

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// TestCursors: a whole worker brings acks of all partitions into cursors, and trims
// the streams, on each kind of Redis.
func TestCursors(t *testing.T) {
	for name, open := range map[string]func(testing.TB) *storetest.Backend{
		"real": storetest.OnRedis, "cluster": storetest.OnCluster, "embedded": storetest.OnEmbedded,
	} {
		t.Run(name, func(t *testing.T) {
			redis := open(t)
			st := storetest.Open(t, redis.URL, nil)
			w := newWorker(st, Config{})
			start(t, w.Run)
			ctx := t.Context()

			const topics, rounds = 64, 3
			want := make(map[string]string)
			for round := range rounds {
				var acks []wire.Ack
				for n := range topics {
					a := wire.Ack{User: "u", Device: "d", To: fmt.Sprintf("topic:t%d", n), ID: wire.ID{Ms: uint64(round + 1)}}
					acks = append(acks, a, wire.Ack{User: "u", To: a.To, ID: a.ID})
					want[a.To] = a.ID.String()
				}
				errs, _ := st.AppendAcks(ctx, acks, 0)
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
				// The last one of each stream is no ack.
				for p := range st.Config().Partitions {
					if err := redis.Client.Do(ctx, "XADD", storetest.Key(p, "acks"), "*", "x", "y").Err(); err != nil {
						t.Fatal(err)
					}
				}
				storetest.Eventually(t, func() error {
					got, _, err := st.Cursors(ctx, "u", "d")
					if err == nil && !reflect.DeepEqual(got, want) {
						err = fmt.Errorf("cursors are %v", got)
					}
					return err
				})
			}
			storetest.Eventually(t, func() error {
				for p := range st.Config().Partitions {
					if n := redis.Client.XLen(ctx, storetest.Key(p, "acks")).Val(); n > 1 {
						return fmt.Errorf("partition %d has %d acks that are done", p, n)
					}
				}
				return nil
			})
			for _, c := range []struct {
				name string
				got  prometheus.Counter
				want float64
			}{
				{"read", w.metrics.acks, 2 * topics * rounds},
				{"malformed", w.metrics.ackDrops.WithLabelValues(ackDropMalformed), float64(st.Config().Partitions * rounds)},
				{"moved", w.metrics.cursorsMoved, topics * rounds},
			} {
				if got := testutil.ToFloat64(c.got); got != c.want {
					t.Errorf("%v acks %s, want %v", got, c.name, c.want)
				}
			}
		})
	}
}

// TestHighest: of a batch the highest ack of each device and target counts.
func TestHighest(t *testing.T) {
	entry := func(user, device, to, id string) store.Entry {
		return store.Entry{Fields: map[string]any{"user": user, "device": device, "to": to, "id": id}}
	}
	cursors, malformed := highest([]store.Entry{
		entry("u", "d", "all", "5-0"), entry("u", "d", "all", "7-0"), entry("u", "d", "all", "6-0"), entry("u", "e", "all", "1-0"),
		entry("u", "", "all", "9-0"), entry("v", "d", "all", "2-0"), entry("u", "d", "topic:a", "3-0"), entry("u", "d", "all", "x"), {},
	})
	var got []string
	for _, c := range cursors {
		got = append(got, fmt.Sprintf("%s %s %s %v", c.User, c.Device, c.To, c.ID))
	}
	if want := []string{"u d all 7-0", "u e all 1-0", "v d all 2-0", "u d topic:a 3-0"}; !reflect.DeepEqual(got, want) || malformed != 2 {
		t.Errorf("cursors %v, %d malformed; want %v", got, malformed, want)
	}
}
