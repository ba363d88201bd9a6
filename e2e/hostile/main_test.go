// Package hostile_test attacks a gateway in every way that strangers and clients with a token have, while others use it.
// The gateway is a process of its own, built as it is shipped, with a bounded memory; worker and redis-server are real.
// An attack is a child process of the test, so that the test's own clients do not compete with it for a scheduler.
//
//	idle_test.go        what a client costs that does nothing
//	hostile_test.go     what must hold of each attack
//	attacks_test.go     the table of attacks
//	strangers_test.go   those that need no token
//	members_test.go     those of clients with one
//	attacker_test.go    what attacks are made of
//	bystander_test.go   clients that use the gateway meanwhile
//	system_test.go      the processes, and what they say of themselves
package hostile_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"sluice/shared/testkit"
)

// patience is how long a condition may take before its test fails.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if name := os.Getenv(attackVariable); name != "" {
		if err := attackAs(name); err != nil {
			fmt.Fprintln(os.Stderr, "the attack "+name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	testkit.RemoveBuilds()
	os.Exit(code)
}

// eventually waits until check returns nil, or says what it said last.
func eventually(within time.Duration, check func() error) error {
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		err := check()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
