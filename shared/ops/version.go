package ops

import "runtime/debug"

// Version of this build. The build stamps it:
//
//	go build -ldflags "-X sluice/shared/ops.Version=v1.2.3"
//
// Without a stamp it is the revision that the go command recorded, or "dev".
var Version = unstamped

const unstamped = "dev"

func init() { Version = versionFrom(Version, debug.ReadBuildInfo) }

func versionFrom(stamp string, read func() (*debug.BuildInfo, bool)) string {
	info, ok := read()
	if stamp != unstamped || !ok {
		return stamp
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return stamp
	}
	return revision + dirty
}
