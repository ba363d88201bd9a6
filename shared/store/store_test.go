package store_test

import (
	"testing"

	"go.uber.org/goleak"

	"sluice/shared/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	t.Run("real", func(t *testing.T) { storetest.Run(t, storetest.OnRedis) })
	t.Run("cluster", func(t *testing.T) { storetest.Run(t, storetest.OnCluster) })
	t.Run("embedded", func(t *testing.T) { storetest.Run(t, storetest.OnEmbedded) })
}
