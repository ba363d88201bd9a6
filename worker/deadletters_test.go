package worker

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"sluice/shared/store"
)

// TestDeadLettersThatGo: of all dead letters one may go between the list and its turn. The others have theirs; who names it is told.
func TestDeadLettersThatGo(t *testing.T) {
	each := func(_ context.Context, do func(store.Buried) error) error {
		for _, id := range []string{"1-0", "2-0", "3-0"} {
			if err := do(store.Buried{ID: id}); err != nil {
				return err
			}
		}
		return nil
	}
	var dropped []string
	drop := func(_ context.Context, id string) error {
		if id == "2-0" {
			return store.ErrNoDeadLetter
		}
		dropped = append(dropped, id)
		return nil
	}
	var out bytes.Buffer
	if err := changeDead(t.Context(), each, []string{"all"}, &out, "dropped", drop); err != nil || len(dropped) != 2 {
		t.Errorf("of all are dropped %v, %v", dropped, err)
	}
	if said := out.String(); said != "dropped 2 dead letters\n" {
		t.Errorf("it says %q", said)
	}
	if err := changeDead(t.Context(), each, []string{"1-0", "2-0", "3-0"}, &out, "dropped", drop); !errors.Is(err, store.ErrNoDeadLetter) || len(dropped) != 3 {
		t.Errorf("of three that are named are dropped %v, %v", dropped[2:], err)
	}
}
