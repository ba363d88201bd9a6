//go:build !linux && !darwin

package hostile_test

func beLast() {}
