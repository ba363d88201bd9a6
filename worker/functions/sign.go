package functions

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// signer signs requests as Standard Webhooks: HMAC-SHA256 of id.timestamp.body.
type signer struct {
	keys [][]byte
}

// sign sets the headers. at is in Unix seconds.
func (s signer) sign(h http.Header, id string, at int64, body []byte) {
	stamp := strconv.FormatInt(at, 10)
	signatures := make([]string, len(s.keys))
	for i, key := range s.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", stamp)
	h.Set("Webhook-Signature", strings.Join(signatures, " "))
}
