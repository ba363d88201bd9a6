package settings

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

const (
	hidden       = "(hidden)"
	mask         = "xxxxx" // the same as net/url's Redacted
	longestShown = 200     // bytes of a value that an error repeats
)

// Redacted lists cfg's variables and their values as arguments for slog.
// Secrets are "(set)" or "(not set)", URLs lose their password.
func Redacted(cfg any) []any {
	var args []any
	for _, s := range all(cfg) {
		args = append(args, s.name, s.redacted())
	}
	return args
}

func (s setting) redacted() any {
	switch {
	case s.secret == secretAll && s.value.IsZero():
		return "(not set)"
	case s.secret == secretAll:
		return "(set)"
	case s.secret == secretURL:
		return RedactURL(s.text())
	}
	switch k := s.value.Kind(); {
	case s.value.Type().PkgPath() == "" && (k == reflect.Bool || k >= reflect.Int && k <= reflect.Float64):
		return s.value.Interface() // stays a number in JSON
	}
	return s.text()
}

// shown is what an error may repeat of raw, a value of this setting.
func (s setting) shown(raw string) string {
	switch {
	case raw == "" || s.secret == public:
		return raw
	case s.secret == secretURL:
		return RedactURL(raw)
	}
	return hidden
}

var (
	nextURL     = regexp.MustCompile(`,\s*[A-Za-z][A-Za-z0-9+.-]*://`)
	secretQuery = regexp.MustCompile(`(?is)([?&;][^=&;?]*(?:pass|secret|token|key|auth|credential)[^=&;?]*=)(.+)`)
	scheme      = regexp.MustCompile(`^\s*[A-Za-z][A-Za-z0-9+.-]*://`)
	plainUser   = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)
	// hosts, ports, path and query that cannot be a password in the wrong place
	plainHosts  = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?(?:,[A-Za-z0-9._-]+(?::\d{1,5})?)*(?:/[^#?]*)?(?:\?[^#&=]+=[^#&]*(?:&[^#&=]+=[^#&]*)*)?$`)
	hostAndPort = regexp.MustCompile(`^[A-Za-z0-9._-]+:\d{1,5}$`)
)

// RedactURL replaces the password in a URL, or in each of several that commas
// divide, by "xxxxx", and likewise what looks like a secret in its query. It
// does so by looking at the text, since the URLs that errors are about cannot
// be parsed, and passwords may hold any character; in doubt it hides more,
// down to "(hidden)".
func RedactURL(s string) string {
	var out strings.Builder
	logins := strings.Contains(s, "@")
	for len(s) > 0 {
		end := len(s)
		if next := nextURL.FindStringIndex(s[1:]); next != nil {
			end = next[0] + 2 // behind the comma
		}
		piece := strings.TrimSuffix(s[:end], ",")
		out.WriteString(redactOne(piece, logins))
		out.WriteString(s[len(piece):end])
		s = s[end:]
	}
	return out.String()
}

func redactOne(s string, logins bool) string {
	if m := secretQuery.FindStringSubmatchIndex(s); m != nil {
		if strings.Contains(s[m[4]:], "@") {
			return hidden // query, or the end of a password? nobody can tell
		}
		s = s[:m[4]] + mask
	}
	start := scheme.FindString(s)
	rest := s[len(start):]
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		if strings.Contains(rest[:at], "?") {
			return hidden // of a password, or of a query with an @? nobody can tell
		}
		user, password, found := strings.Cut(rest[:at], ":")
		switch {
		case found && password == "" && plainUser.MatchString(user):
			return s
		case found && plainUser.MatchString(user):
			return start + user + ":" + mask + rest[at:]
		}
		return start + mask + rest[at:]
	}
	switch {
	case logins: // where others have a login this may be the piece of a password with a comma
	case start != "" && (rest == "" || plainHosts.MatchString(rest)),
		start == "" && hostAndPort.MatchString(rest): // the likeliest mistake, and no secret
		return s
	}
	return start + hidden
}

// scrub is the error's text without the values of secret settings. It is the
// second line of defence, for errors that are not ours; it replaces whole
// values and passwords of at least four characters, since replacing shorter
// ones would tear up the sentence.
func scrub(err error, list []setting, environ map[string]string) string {
	text := err.Error()
	var parse *url.Error
	if errors.As(err, &parse) {
		// Its reason may quote any piece of the URL.
		text = strings.ReplaceAll(text, parse.Error(), fmt.Sprintf("%s of a URL failed", parse.Op))
	}
	for _, s := range list {
		raw := environ[s.name]
		if s.secret == public || raw == "" {
			continue
		}
		text = replaceSecret(text, raw, s.shown(raw))
		if s.secret == secretURL {
			for _, password := range passwords(raw) {
				text = replaceSecret(text, password, mask)
			}
		}
	}
	return text
}

func replaceSecret(text, secret, by string) string {
	if len(secret) < 4 {
		return text
	}
	text = strings.ReplaceAll(text, secret, by)
	quoted := strconv.Quote(secret)
	return strings.ReplaceAll(text, quoted[1:len(quoted)-1], by)
}

// passwords lists what may be a password in raw, as written and decoded.
func passwords(raw string) []string {
	var found []string
	for _, piece := range strings.SplitAfter(raw, ",") {
		rest := piece[len(scheme.FindString(piece)):]
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			if _, password, ok := strings.Cut(rest[:at], ":"); ok {
				found = append(found, password)
			}
		}
	}
	for _, m := range secretQuery.FindAllStringSubmatch(raw, -1) {
		value, _, _ := strings.Cut(m[2], "&")
		found = append(found, value)
	}
	for _, p := range found {
		if decoded, err := url.QueryUnescape(p); err == nil && decoded != p {
			found = append(found, decoded)
		}
	}
	return found
}
