package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// KeepTicket keeps what a ticket stands for.
func (s *Store) KeepTicket(ctx context.Context, ticket string, what []byte, ttl time.Duration) error {
	if err := s.rdb.Set(ctx, s.keys.ticket(ticket), what, ttl).Err(); err != nil {
		return fmt.Errorf("cannot keep a ticket: %w", err)
	}
	return nil
}

// TakeTicket returns what a ticket stands for, once; nil: there is no such ticket, or not any more. After an error it
// may have been taken.
func (s *Store) TakeTicket(ctx context.Context, ticket string) ([]byte, error) {
	what, err := s.rdb.GetDel(ctx, s.keys.ticket(ticket)).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) && !isWrongType(err) {
		return nil, fmt.Errorf("cannot take a ticket: %w", err)
	}
	return what, nil
}
