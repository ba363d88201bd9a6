package store

import "github.com/redis/go-redis/v9"

// What the fuzz tests look into.
var (
	HistoryEvent = historyEvent
	LiveServers  = liveServers

	Scripts = map[string]*redis.Script{
		"takeover": takeover, "release": release, "forward": forward, "rewind": rewind, "dead": dead, "trimDead": trimDead, "undelay": undelay,
		"unregister": unregister, "sweep": sweep, "unclaim": unclaim, "cursors": cursors, "trim": trim, "trimAcks": trimAcks,
		"historyEnds": historyEnds, "trimHistory": trimHistory,
		"letWait": letWait, "tellUnread": tellUnread,
	}
)
