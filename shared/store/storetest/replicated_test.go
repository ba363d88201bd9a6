package storetest_test

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"sluice/shared/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReplicated: what tests of failovers build on is so: a replica that lags loses what
// came since, one that does not loses nothing, and a node that was lost comes back.
func TestReplicated(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	for _, topology := range []struct {
		name  string
		start func(testing.TB) *storetest.Replicated
	}{
		{"sentinel", func(tb testing.TB) *storetest.Replicated { return storetest.Sentinel(tb) }},
		{"cluster", func(tb testing.TB) *storetest.Replicated { return storetest.ReplicatedCluster(tb, 3) }},
	} {
		t.Run(topology.name, func(t *testing.T) {
			r := topology.start(t)
			s := r.ShardOf("kept")
			for _, loss := range []struct {
				name string
				lose func()
			}{
				{"command", s.Failover},
				{"kill", func() { s.Kill(); s.Promoted() }},
				{"freeze", func() { s.Master().Pause(); s.Promoted() }},
			} {
				for _, lags := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, lag %v", loss.name, lags), func(t *testing.T) {
						survives(t, r, s, loss.lose, lags)
					})
				}
			}
		})
	}
}

func survives(t *testing.T, r *storetest.Replicated, s *storetest.Shard, lose func(), lags bool) {
	ctx := context.Background()
	set := func(value string) {
		t.Helper()
		if err := s.Master().Client().Set(ctx, "kept", value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	want := "later"
	set("before")
	if lags {
		s.Lag()
		want = "before"
	}
	set("later")
	if !lags {
		s.CatchUp()
	}
	old := s.Master()
	lose()
	if s.Master() == old || s.Replica() != old {
		t.Fatal("the roles have not changed")
	}
	if got, err := s.Master().Client().Get(ctx, "kept").Result(); err != nil || got != want {
		t.Fatalf("the new master has %q, want %q, error %v", got, want, err)
	}
	s.Revive()
	storetest.Eventually(t, func() error {
		got, err := r.Client().Get(ctx, "kept").Result()
		if err == nil && got != want {
			err = fmt.Errorf("clients get %q, want %q", got, want)
		}
		return err
	})
}
