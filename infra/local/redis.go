package local

import (
	"fmt"
	"io"

	"github.com/alicebob/miniredis/v2"
)

// redisAddr is where the embedded Redis listens, if nothing else does.
const redisAddr = "127.0.0.1:6380"

// startRedis starts the embedded Redis. It forgets everything at the end.
func startRedis(out io.Writer) (stop func(), url string, err error) {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true) // otherwise keys expire only when a test says so
	if err := m.StartAddr(redisAddr); err != nil {
		if err = m.StartAddr("127.0.0.1:0"); err != nil {
			return nil, "", fmt.Errorf("cannot start the embedded Redis: %w", err)
		}
		_, _ = fmt.Fprintf(out, "%s is taken, the embedded Redis uses %s\n", redisAddr, m.Addr())
	}
	return m.Close, "redis://" + m.Addr(), nil
}
