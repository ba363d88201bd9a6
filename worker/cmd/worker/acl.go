package main

import (
	"fmt"
	"io"
	"strings"

	"sluice/shared/ops"
	"sluice/shared/store"
)

// acl prints what each tier may do in Redis.
func acl(prefix string, args []string, out io.Writer) error {
	if len(args) > 0 {
		return ops.UsageError("acl takes no arguments")
	}
	for _, u := range store.Users(prefix) {
		if _, err := fmt.Fprintf(out, "user %s %s\n", u.Name, strings.Join(u.Rules, " ")); err != nil {
			return err
		}
	}
	return nil
}
