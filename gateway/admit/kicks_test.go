package admit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sluice/shared/wire"
)

// TestKicks: the partitions of which kicks may be lost are read together, each once, and again until Redis answers.
func TestKicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked [][]int
		var kicked []string
		x := NewKicks(func(_ context.Context, partitions []int) ([]*wire.Kick, error) {
			slices.Sort(partitions)
			asked = append(asked, partitions)
			if len(asked) == 1 {
				return nil, errors.New("away")
			}
			return []*wire.Kick{{User: "alice"}}, nil
		}, func(k *wire.Kick) { kicked = append(kicked, k.User) }, slog.New(slog.DiscardHandler))
		for _, p := range []int{3, 1, 3} {
			x.Lost(p)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- x.Run(ctx) }()
		time.Sleep(time.Second) // of the bubble's clock
		x.Lost(2)
		synctest.Wait()
		if len(kicked) != 2 {
			t.Errorf("kicked are %v, want alice twice", kicked)
		}
		if cancel(); <-ended != nil {
			t.Error("Run ends with an error")
		}
		if want := [][]int{{1, 3}, {1, 3}, {2}}; !slices.EqualFunc(asked, want, slices.Equal) {
			t.Errorf("Redis is asked for %v, want %v", asked, want)
		}
	})
}
