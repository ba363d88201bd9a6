// Package history reads the histories of targets for those that catch up.
//
//	reader.go  reads that are shared by all that want the same, within a budget that users share
//	pages.go   what was just read, for the next one
package history
