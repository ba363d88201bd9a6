package answers_test

import (
	"testing"

	"sluice/gateway/answers"
)

// TestAddresses: each one has an address of its own, until it leaves.
func TestAddresses(t *testing.T) {
	var a answers.Addresses[int]
	one, leave := a.Add(1)
	two, _ := a.Add(2)
	if got, ok := a.Get(one); !ok || got != 1 {
		t.Errorf("the first is %d, %v", got, ok)
	}
	leave()
	if _, ok := a.Get(one); ok {
		t.Error("the first has left")
	}
	if got, ok := a.Get(two); !ok || got != 2 {
		t.Errorf("the second is %d, %v", got, ok)
	}
}
