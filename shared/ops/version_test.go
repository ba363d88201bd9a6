package ops

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	vcs := func(s ...debug.BuildSetting) func() (*debug.BuildInfo, bool) {
		return func() (*debug.BuildInfo, bool) { return &debug.BuildInfo{Settings: s}, true }
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"}
	for _, tc := range []struct {
		stamp string
		read  func() (*debug.BuildInfo, bool)
		want  string
	}{
		{"v1.2", vcs(revision), "v1.2"},
		{"dev", vcs(revision), "0123456789ab"},
		{"dev", vcs(revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}), "0123456789ab-dirty"},
		{"dev", vcs(debug.BuildSetting{Key: "vcs.modified", Value: "true"}), "dev"},
		{"dev", vcs(), "dev"},
		{"dev", func() (*debug.BuildInfo, bool) { return nil, false }, "dev"},
	} {
		if got := versionFrom(tc.stamp, tc.read); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
