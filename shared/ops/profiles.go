package ops

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync"
)

// longestProfile bounds a profile or a trace, in seconds: both slow the process down, and
// a trace of a busy one is tens of megabytes a second.
const longestProfile = 60

// profiles are the pages of /debug/pprof/, one request at a time.
func profiles(served bool) http.Handler {
	if !served {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "profiles are not served: set SLUICE_ADMIN_PPROF=true", http.StatusNotFound)
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	var one sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.NoBody // pprof would look for a form in it
		// What is no number is not refused: pprof takes its own default then, which is shorter.
		if s, err := strconv.ParseFloat(r.FormValue("seconds"), 64); err == nil && !(s <= longestProfile) {
			http.Error(w, fmt.Sprintf("seconds must be at most %d", longestProfile), http.StatusBadRequest)
			return
		}
		if !one.TryLock() {
			w.Header().Set("Retry-After", strconv.Itoa(longestProfile))
			http.Error(w, "another profile is being made; there is one at a time", http.StatusServiceUnavailable)
			return
		}
		defer one.Unlock()
		mux.ServeHTTP(w, r)
	})
}
