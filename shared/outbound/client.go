package outbound

import (
	"errors"
	"net/http"
	"net/url"
	"time"
)

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

// NewClient makes a client whose requests take no longer than timeout, the answer's body included. It follows no redirect:
// that is an answer like another one.
func NewClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: maxHeader, ForceAttemptHTTP2: true,
		},
	}
}

// Reason is why a request failed, without its address: a password or a token may be in it.
func Reason(err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		if inner.Op == "parse" { // its reason may quote any piece of the address
			return errors.New("the address cannot be asked")
		}
		return inner.Err
	}
	return err
}
