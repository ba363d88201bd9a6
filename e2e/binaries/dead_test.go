package binaries_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// badEntry is an entry that nobody can deliver.
type badEntry struct {
	name   string
	fields []string
}

func badEntries(topic string) []badEntry {
	const limit = 64 << 10
	return []badEntry{
		{"no to", []string{"data", "1"}},
		{"empty to", []string{"to", "", "data", "1"}},
		{"no kind", []string{"to", "room", "data", "1"}},
		{"unknown kind", []string{"to", "group:x", "data", "1"}},
		{"empty name", []string{"to", "topic:", "data", "1"}},
		{"name with a space", []string{"to", "topic:a b", "data", "1"}},
		{"long name", []string{"to", "user:" + strings.Repeat("x", 129), "data", "1"}},
		{"target that is not UTF-8", []string{"to", "topic:\xff\xfe", "data", "1"}},
		{"target with a brace", []string{"to", "topic:{1}", "data", "1"}},
		{"neither", []string{"event", "x"}},
		{"no data", []string{"to", topic}},
		{"one byte too much", []string{"to", topic, "data", strings.Repeat("x", limit+1)}},
		{"a megabyte", []string{"to", topic, "data", strings.Repeat("\x00\xff", 512<<10), "event", "big"}},
	}
}

// TestDeadLetters: every bad entry of a batch becomes a dead letter, the good ones between them are delivered in order.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, way := range []string{"intake", "partition stream"} {
		t.Run(way, func(t *testing.T) {
			topic := "topic:" + unique("batch")
			stream := c.intake()
			if way != "intake" {
				stream = c.ingress(topic)
			}
			s := join(t, c.gateways[0], unique("reader"))
			s.subscribe(topic, "")
			run, bad := unique("run"), badEntries(topic)
			entries := []entry{{stream, fields(topic, number(0))}}
			for i, b := range bad {
				given := slices.Concat(b.fields, []string{"mark", fmt.Sprintf("%s/%d", run, i)})
				entries = append(entries, entry{stream, given}, entry{stream, fields(topic, number(i+1))})
			}
			ids := c.addAll(t, entries...)

			requireNumbers(t, topic, s.waitEvents(topic, len(bad)+1), 0, len(bad)+1)
			letters := c.waitDead(t, run, len(bad))
			for i, b := range bad {
				letter, sent := letters[fmt.Sprintf("%s/%d", run, i)], entries[1+2*i].fields
				text := func(field string) string { v, _ := letter[field].(string); return v }
				if text("reason") == "" {
					t.Errorf("%s: no reason in %.300v", b.name, letter)
				}
				// The intake's owner may look at `to` only and leave the rest to the partition's owner.
				forwarded := way == "intake" && len(b.fields) > 1 && b.fields[1] == topic && text("stream") == c.ingress(topic)
				if !forwarded && (text("stream") != stream || text("entry") != ids[1+2*i]) {
					t.Errorf("%s: the letter is about %s of %q, was %s of %s", b.name, text("entry"), text("stream"), ids[1+2*i], stream)
				}
				for f := 0; f < len(sent); f += 2 {
					if got := text("f:" + sent[f]); got != sent[f+1] {
						t.Errorf("%s: field %s of %d bytes has %d bytes, or others, in the letter", b.name, sent[f], len(sent[f+1]), len(got))
					}
				}
			}
			requireNumbers(t, topic, s.syncEvents(topic), 0, len(bad)+1)
		})
	}
}

// waitDead waits until the run's letters are in sluice:dead and returns them by their mark.
func (c *cluster) waitDead(t *testing.T, run string, n int) map[string]map[string]any {
	t.Helper()
	var letters map[string]map[string]any
	eventually(t, func() error {
		all, err := c.XRange(ctx, c.dead(), "-", "+").Result()
		if err != nil {
			return err
		}
		letters = marked(all, run)
		if len(letters) < n {
			return fmt.Errorf("%d of %d dead letters", len(letters), n)
		}
		return nil
	})
	return letters
}

func marked(all []redis.XMessage, run string) map[string]map[string]any {
	letters := map[string]map[string]any{}
	for _, m := range all {
		if mark, _ := m.Values["f:mark"].(string); strings.HasPrefix(mark, run+"/") {
			letters[mark] = m.Values
		}
	}
	return letters
}
