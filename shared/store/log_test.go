package store

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// What the client says of a Redis that is not there is a line of the log, and holds no password.
func TestClientLog(t *testing.T) {
	var out lines
	UseLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { UseLog(slog.New(slog.DiscardHandler)) })
	s, err := Open(Config{
		RedisURL: "redis://joe:0pen-sesame@127.0.0.1:1", Partitions: 1, HistorySize: 1, HistoryTTL: time.Hour, SessionTTL: time.Minute, MaxData: 1024,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Ready(ctx); err == nil {
		t.Error("there is a Redis on port 1")
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	said := out.b.String()
	if !strings.Contains(said, `level=DEBUG msg="Redis client" says=`) || strings.Contains(said, "sesame") {
		t.Errorf("it logged:\n%s", said)
	}
}
