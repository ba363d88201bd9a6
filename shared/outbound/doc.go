// Package outbound is what requests to other people's servers have in common: client.go how they are made, sign.go how
// their receivers know who sent them.
package outbound
