package store

import (
	"strings"
	"testing"
)

func TestJudgeNode(t *testing.T) {
	for text, want := range map[string][2]string{
		"": {},
		"redis_version:7.0.15\nmaxmemory:5\nmaxmemory_policy:noeviction\naof_enabled:1": {},
		"redis_version:8.2.1\nmaxmemory:0\nmaxmemory_policy:allkeys-lru\naof_enabled:1": {},
		"redis_version:unknown":                                                           {},
		"redis_version:6.2.14\nmaxmemory_policy:noeviction":                               {"is Redis 6.2.14, and 7.0 is needed"},
		"redis_version:7.0.15\nmaxmemory:5\nmaxmemory_policy:volatile-lru\naof_enabled:0": {"(maxmemory-policy volatile-lru)"},
		"redis_version:7.0.15\naof_enabled:0":                                             {"", "appendonly no"},
	} {
		unfit, warning := judgeNode(infoOf(text))
		for i, got := range []string{unfit, warning} {
			if !strings.Contains(got, want[i]) || want[i] == "" && got != "" {
				t.Errorf("%q: %q, want %q", text, got, want[i])
			}
		}
	}
}
