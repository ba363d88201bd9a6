#!/usr/bin/env bash
# Usage: with-docker.sh COMMAND [ARGUMENT...]
#
# Runs a command while a Docker engine answers: the one that does so already, or else one that is started for the
# command's time. Only root can start one.
set -euo pipefail

answers() { docker info >/dev/null 2>&1; }

if answers; then exec "$@"; fi
if [ "$(id -u)" -ne 0 ] || ! command -v dockerd >/dev/null; then
    echo "no Docker engine answers, and $(id -un) cannot start one here: start it, then try again" >&2
    exit 1
fi

log=$(mktemp)
# Each client is two descriptors of a balancer, and containers inherit this limit.
ulimit -n "$(ulimit -H -n)"
dockerd >"$log" 2>&1 &
engine=$!
trap 'kill $engine 2>/dev/null && wait $engine || true; rm -f "$log"' EXIT
trap 'exit 130' INT TERM

tries=0
until answers; do
    tries=$((tries + 1))
    if [ $tries -gt 120 ] || ! kill -0 $engine 2>/dev/null; then
        tail -n 20 "$log" >&2
        echo "the Docker engine that was started does not answer; its last words are above" >&2
        exit 1
    fi
    sleep 0.5
done

"$@"
