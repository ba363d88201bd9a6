//go:build !race

package model

const fewerFaults = 0
