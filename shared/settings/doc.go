// Package settings reads environment variables into structs. What is true of a setting is said once, in
// the tags of its field: its name, its default, its bounds, a sentence about it. From there come the check,
// the sentence about a mistake, and the list behind -h.
//
//	field.go    the walk over a struct of settings that the rest shares
//	bounds.go   what the tags allow: the check, and the words for it
//	load.go     Load and Check: one sentence for each mistake, all of them at once
//	invalid.go  Invalid: the mistake
//	redact.go   what may be shown of a setting, and what may not
//	list.go     List: the settings in the page behind -h
//
// It imports no other package of Sluice, so that every other one may import it.
package settings
