package main

import (
	"fmt"
	"os"
	"testing"

	"sluice/shared/testkit"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(floorVariable) != "" { // started by a test, as the program starts itself
		if err := runFloor(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { testkit.RemoveBuilds(); os.Exit(code) }))
}
