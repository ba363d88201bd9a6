package worker

import (
	"fmt"
	"testing"

	"sluice/shared/wire"
)

func TestEndsIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	const generation = 1000
	e := newEnds(2 * generation)
	e.put("used", end{newest: wire.ID{Ms: 1}})
	for i := range 5 * generation {
		e.put(fmt.Sprint("other", i), end{newest: wire.ID{Ms: 2}})
		if i%(generation/4) == 0 { // the step puts what it has used
			v, ok := e.get("used")
			if !ok || v.newest != (wire.ID{Ms: 1}) {
				t.Fatalf("after %d others: what is used is gone: %v %v", i, v, ok)
			}
			e.put("used", v)
		}
	}
	if n := len(e.young) + len(e.old); n > 2*generation {
		t.Errorf("%d targets are kept, want at most %d", n, 2*generation)
	}
	if _, ok := e.get("other0"); ok {
		t.Error("the oldest target is still kept")
	}
	if v, ok := e.get(fmt.Sprint("other", 5*generation-1)); !ok || v.newest != (wire.ID{Ms: 2}) {
		t.Errorf("the newest target: %v %v", v, ok)
	}
}
