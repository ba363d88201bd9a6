package store

import (
	_ "embed" // the rights
	"strings"
)

//go:embed acl.conf
var aclConf string

// User is a user of Redis with what a tier needs.
type User struct {
	Name  string
	Rules []string // of ACL SETUSER; neither "on" nor a password
}

// Users are those of an installation with a prefix, one for each tier.
func Users(prefix string) []User {
	escaped := globEscape(prefix)
	var users []User
	for line := range strings.Lines(aclConf) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "user" {
			continue
		}
		u := User{Name: words[1]}
		for _, rule := range words[2:] {
			u.Rules = append(u.Rules, strings.Replace(rule, "sluice:", escaped, 1))
		}
		users = append(users, u)
	}
	return users
}
