//go:build race

package model

// The race detector makes the search ten times slower, and there is nothing concurrent in it: one fault less.
const fewerFaults = 1
