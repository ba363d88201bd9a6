//go:build !sluice_defects

package store

import "github.com/redis/go-redis/v9"

// flawed is where a build for tests puts its deliberate defects.
func flawed(rdb redis.UniversalClient) redis.UniversalClient { return rdb }
