package store

import (
	"context"
	_ "embed" // the scripts
	"fmt"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/ids.lua
	idsLua string
	//go:embed lua/types.lua
	typesLua string
	//go:embed lua/history.lua
	historyLua string
	//go:embed lua/ends.lua
	endsLua string
	//go:embed lua/trimhistory.lua
	trimHistoryLua string
	//go:embed lua/takeover.lua
	takeoverLua string
	//go:embed lua/release.lua
	releaseLua string
	//go:embed lua/forward.lua
	forwardLua string
	//go:embed lua/rewind.lua
	rewindLua string
	//go:embed lua/dead.lua
	deadLua string
	//go:embed lua/trimdead.lua
	trimDeadLua string
	//go:embed lua/undelay.lua
	undelayLua string
	//go:embed lua/unregister.lua
	unregisterLua string
	//go:embed lua/sweep.lua
	sweepLua string
	//go:embed lua/unclaim.lua
	unclaimLua string
	//go:embed lua/cursor.lua
	cursorLua string
	//go:embed lua/trim.lua
	trimLua string
	//go:embed lua/trimacks.lua
	trimAcksLua string
	//go:embed lua/call.lua
	addCallLua string
	//go:embed lua/post.lua
	postCallLua string
	//go:embed lua/offline.lua
	offlineLua string
	//go:embed lua/bar.lua
	barLua string
	//go:embed lua/unread.lua
	unreadLua string
	//go:embed lua/overdue.lua
	overdueLua string
	//go:embed lua/lost.lua
	lostConnLua string
	//go:embed lua/finish.lua
	finishCallLua string

	takeover   = redis.NewScript(idsLua + typesLua + takeoverLua)
	release    = redis.NewScript(releaseLua)
	forward    = redis.NewScript(idsLua + forwardLua)
	rewind     = redis.NewScript(rewindLua)
	dead       = redis.NewScript(deadLua)
	trimDead   = redis.NewScript(trimDeadLua)
	undelay    = redis.NewScript(undelayLua)
	unregister = redis.NewScript(unregisterLua)
	sweep      = redis.NewScript(sweepLua)
	unclaim    = redis.NewScript(unclaimLua)

	cursors  = redis.NewScript(idsLua + cursorLua)
	trim     = redis.NewScript(idsLua + trimLua)
	trimAcks = redis.NewScript(idsLua + trimAcksLua)

	addCall    = redis.NewScript(addCallLua)
	addPost    = redis.NewScript(postCallLua)
	tellGone   = redis.NewScript(typesLua + offlineLua)
	bar        = redis.NewScript(barLua)
	letWait    = redis.NewScript(idsLua + unreadLua)
	tellUnread = redis.NewScript(idsLua + typesLua + overdueLua)
	lostConn   = redis.NewScript(lostConnLua)
	finishCall = redis.NewScript(finishCallLua)

	historyEnds = redis.NewScript(idsLua + historyLua + endsLua)
	trimHistory = redis.NewScript(historyLua + trimHistoryLua)
)

// runScript is a way to run a script: by its hash, or in full.
type runScript func(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd

// pipeliner is a client, or a connection.
type pipeliner interface{ Pipeline() redis.Pipeliner }

// call is one run of a script in a pipeline.
type call struct {
	keys []string
	args []any
}

// runAll runs one script for each call in one pipeline. Where the server has lost the
// script (SCRIPT FLUSH, restart, another node) it is sent in full. What one of expected
// knows is left to the caller, who looks at each command.
func runAll(ctx context.Context, rdb pipeliner, script *redis.Script, calls []call, expected ...func(error) bool) ([]*redis.Cmd, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	return runAllThen(ctx, rdb, script, calls, func(redis.Pipeliner) {}, expected...)
}

// runAllThen is runAll with other commands behind the calls in the pipeline. Where a script is
// sent in full, they have come before it.
func runAllThen(
	ctx context.Context, rdb pipeliner, script *redis.Script, calls []call, then func(redis.Pipeliner), expected ...func(error) bool,
) ([]*redis.Cmd, error) {
	pipe := rdb.Pipeline()
	out := make([]*redis.Cmd, len(calls))
	for i, c := range calls {
		out[i] = script.EvalSha(ctx, pipe, c.keys, c.args...)
	}
	then(pipe)
	cmds, err := exec(ctx, pipe)
	if err = firstFailure(cmds, err, expected...); isNoScript(err) {
		pipe = rdb.Pipeline()
		for i, c := range calls {
			if isNoScript(out[i].Err()) { // on a Cluster another node may have run it
				out[i] = script.Eval(ctx, pipe, c.keys, c.args...)
			}
		}
		_, err = exec(ctx, pipe)
		all := make([]redis.Cmder, len(out))
		for i, cmd := range out {
			all[i] = cmd
		}
		err = firstFailure(all, err, expected...)
	}
	if err != nil {
		return out, fmt.Errorf("redis script: %w", err)
	}
	return out, nil
}
