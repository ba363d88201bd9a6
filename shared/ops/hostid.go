package ops

import (
	"crypto/rand"
	"os"
	"regexp"
	"strings"
)

var plainHost = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)

// ProcessName is a name for this process that no other one has: the host's name
// and a random suffix.
func ProcessName() string {
	host, err := os.Hostname()
	if err != nil || !plainHost.MatchString(host) {
		host = "host"
	}
	return host + "-" + strings.ToLower(rand.Text()[:8])
}
