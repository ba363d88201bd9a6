package functions

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/shared/outbound"
	"sluice/shared/pattern"
	"sluice/shared/wire"
)

// Config says which functions there are.
type Config struct {
	Functions string        `env:"SLUICE_FUNCTIONS" secret:"url" allow:"KINDS=URL, separated by commas; KINDS are call, call:PATTERN, connected, disconnected, online, offline, unread, connect, joined by +" help:"The functions that are called, such as call=https://f.example.com/chat,connected+disconnected=https://f.example.com/presence. call:chat.*=URL takes the calls of these names; of several the longest one counts. If it is not set, there are none."`
	Secret    string        `env:"SLUICE_FUNCTION_SECRET" secret:"true" allow:"secrets of the form whsec_ and base64 of 24 to 64 bytes, separated by spaces" help:"The keys that sign what functions are sent (Standard Webhooks). Each gives a signature, the first one first, so that keys can be changed."`
	Timeout   time.Duration `env:"SLUICE_FUNCTION_TIMEOUT" envDefault:"15s" min:"100ms" max:"5m" help:"How long one attempt to call a function may take."`
	Offline   time.Duration `env:"SLUICE_OFFLINE_AFTER" envDefault:"5s" min:"0s" max:"1h" help:"How long a user has no connection until functions hear that the user is offline."`
	RetryFor  time.Duration `env:"SLUICE_FUNCTION_RETRY_FOR" envDefault:"1h" min:"0s" max:"72h" help:"For how long a function that fails is tried again, until the event becomes a dead letter."`
}

// Enabled reports whether there are functions.
func (c *Config) Enabled() bool { return strings.TrimSpace(c.Functions) != "" }

// Validate says what is wrong with the addresses or the secret.
func (c *Config) Validate() error {
	_, err := c.routes()
	_, secretErr := c.secrets()
	if err == nil && secretErr == nil && c.Enabled() && strings.TrimSpace(c.Secret) == "" {
		secretErr = errors.New("SLUICE_FUNCTIONS needs SLUICE_FUNCTION_SECRET: without a signature functions could not tell who calls them; `openssl rand -base64 32` gives what stands behind whsec_")
	}
	return errors.Join(err, secretErr)
}

// route is an address for a kind of event, or for some calls.
type route struct {
	kind    string
	pattern string // of calls' names; "" in all other cases: any
	url     string
}

// kinds are those that an address can be given for.
var kinds = []string{wire.CallKind, wire.ConnectedKind, wire.DisconnectedKind, wire.OnlineKind, wire.OfflineKind, wire.UnreadKind, wire.ConnectKind}

func (c *Config) routes() ([]route, error) {
	var all []route
	for _, item := range strings.Split(c.Functions, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		names, address, ok := strings.Cut(item, "=")
		u, err := url.Parse(address)
		if !ok || err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("SLUICE_FUNCTIONS: what stands for %q is no KINDS=URL with an http or https address", names)
		}
		for name := range strings.SplitSeq(names, "+") {
			kind, pattern, patterned := strings.Cut(strings.TrimSpace(name), ":")
			if !slices.Contains(kinds, kind) || patterned && (kind != wire.CallKind || pattern == "") {
				return nil, fmt.Errorf("SLUICE_FUNCTIONS: %q is no kind of event: there are %s and call:PATTERN", name, strings.Join(kinds, ", "))
			}
			r := route{kind: kind, pattern: pattern, url: u.String()}
			if slices.ContainsFunc(all, func(o route) bool { return o.kind == kind && o.pattern == pattern }) {
				return nil, fmt.Errorf("SLUICE_FUNCTIONS: there are two addresses for %q", name)
			}
			all = append(all, r)
		}
	}
	return all, nil
}

func (c *Config) secrets() (outbound.Keys, error) {
	keys, err := outbound.ParseKeys(c.Secret)
	if err != nil {
		return nil, fmt.Errorf("SLUICE_FUNCTION_SECRET: %w", err)
	}
	return keys, nil
}

// Kinds are what these functions take: kinds, and call:PATTERN where not all calls are taken.
func (c *Config) Kinds() []string {
	all, _ := c.routes()
	var kinds []string
	for _, r := range all {
		name := r.kind
		if r.pattern != "" {
			name += ":" + r.pattern
		}
		kinds = append(kinds, name)
	}
	slices.Sort(kinds)
	return kinds
}

// routing finds the address for an event: of the patterns that match a call's name the longest.
type routing []route

func (r routing) find(kind, name string) (address string, ok bool) {
	longest := -1
	for _, one := range r {
		if one.kind != kind || len(one.pattern) <= longest && longest >= 0 {
			continue
		}
		if one.pattern == "" || pattern.Match(one.pattern, name) {
			address, longest, ok = one.url, len(one.pattern), true
		}
	}
	return address, ok
}
