package outbound

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// secretPrefix stands before each secret (Standard Webhooks, "Signature scheme"). The key is the base64 behind it.
	secretPrefix = "whsec_"
	// leastKey and mostKey are what Standard Webhooks wants of a key, in bytes.
	leastKey, mostKey = 24, 64
)

// Keys sign requests as Standard Webhooks (https://www.standardwebhooks.com). No keys sign nothing.
type Keys [][]byte

// ParseKeys reads secrets of the form whsec_<base64>, separated by spaces. The error does not hold them.
func ParseKeys(secrets string) (keys Keys, err error) {
	for i, text := range strings.Fields(secrets) {
		rest, ok := strings.CutPrefix(text, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(rest)
		if !ok || err != nil || len(key) < leastKey || len(key) > mostKey {
			return nil, fmt.Errorf("secret %d is not %s and the base64 of %d to %d bytes", i+1, secretPrefix, leastKey, mostKey)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Sign sets the headers webhook-id, webhook-timestamp and webhook-signature: the HMAC-SHA256 of id.timestamp.body, by each
// key, the first one first.
func (k Keys) Sign(h http.Header, id string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", stamp)
	signatures := make([]string, len(k))
	for i, key := range k {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	if len(k) > 0 {
		h.Set("Webhook-Signature", strings.Join(signatures, " "))
	}
}
