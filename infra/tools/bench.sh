#!/bin/sh
# Usage: bench.sh PATTERN PACKAGES BASE COUNT
#
# Runs the benchmarks. With a commit as BASE, runs them COUNT times there and COUNT times here, in turns, since the
# speed of a machine drifts and only neighbours in time can be compared, and shows both with benchstat.
set -eu
pattern=$1 packages=$2 base=$3 count=$4

bench() {
    # shellcheck disable=SC2086 # packages may be several
    go test -run '^$' -bench "$pattern" -benchmem -timeout 30m $packages
}

if [ -z "$base" ]; then
    bench
    exit
fi

tmp=$(mktemp -d)
trap 'git worktree remove --force "$tmp/base" 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
git worktree add --quiet --detach "$tmp/base" "$base"

i=1
while [ "$i" -le "$count" ]; do
    echo "run $i of $count" >&2
    (cd "$tmp/base" && bench) >>"$tmp/base.txt"
    bench >>"$tmp/now.txt"
    i=$((i + 1))
done
go run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da "$base=$tmp/base.txt" "now=$tmp/now.txt"
