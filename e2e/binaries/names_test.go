package binaries_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// crc16 is CRC-16/XMODEM, as Redis Cluster computes hash slots: polynomial 0x1021, initial value 0, nothing reflected.
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// hashTag is the smallest decimal number whose hash slot lies in the p-th of equal ranges of all slots.
func hashTag(p, partitions int) string {
	for n := 0; ; n++ {
		if tag := strconv.Itoa(n); int(crc16(tag))%16384*partitions/16384 == p {
			return tag
		}
	}
}

var names atomic.Int64

// unique returns a name that no other test uses.
func unique(stem string) string { return fmt.Sprintf("%s-%d", stem, names.Add(1)) }

// cursor writes positions as the one string that last_event_id and Last-Event-ID take.
func cursor(positions map[string]string) string {
	var parts []string
	for target, id := range positions {
		kind, name, named := strings.Cut(target, ":")
		if named {
			kind += ":" + url.QueryEscape(name)
		}
		parts = append(parts, kind+"="+id)
	}
	return strings.Join(parts, ",")
}

// eventID is an id `<ms>-<n>`, to be compared.
type eventID struct{ ms, n uint64 }

func parseID(s string) (eventID, error) {
	left, right, ok := strings.Cut(s, "-")
	ms, err1 := strconv.ParseUint(left, 10, 64)
	n, err2 := strconv.ParseUint(right, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return eventID{}, fmt.Errorf("%q is not an id <ms>-<n>", s)
	}
	return eventID{ms, n}, nil
}

func (id eventID) less(other eventID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.n < other.n
}

// jwtHS256 signs a token with a shared secret.
func jwtHS256(t testing.TB, secret string, claims msg) string {
	t.Helper()
	body := jwtPart(t, msg{"alg": "HS256", "typ": "JWT"}) + "." + jwtPart(t, claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return body + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// jwtUnsigned makes a token that claims to need no signature.
func jwtUnsigned(t testing.TB, claims msg) string {
	t.Helper()
	return jwtPart(t, msg{"alg": "none", "typ": "JWT"}) + "." + jwtPart(t, claims) + "."
}

func jwtPart(t testing.TB, v msg) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
