#!/usr/bin/env bash
# Usage: again.sh RUNS [LOAD] [ARGUMENT...]
#
# Runs `make test ARGUMENT...` RUNS times, beside LOAD processes that only use the processor (0), and prints one line a
# run: how long it took, and which tests failed. The outputs of failed runs stay in bin/again. A run that takes longer
# than LIMIT seconds (3600) is ended and counts as failed. Ends with 1 if a run failed, and leaves no process behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

number() { case $1 in '' | *[!0-9]*) return 1 ;; esac; }
if ! number "${1:-}" || ! number "${2:-0}" || [ "$1" -eq 0 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
runs=$1 load=${2:-0} limit=${LIMIT:-3600} logs=bin/again
shift $(($# < 2 ? $# : 2))
rm -rf $logs
mkdir -p $logs

set -m # every job is a process group of its own, so that a run can be ended with all that it has started
burners=() run=

finish() {
    trap - EXIT INT TERM
    for pid in $run ${burners[@]+"${burners[@]}"}; do kill -KILL -- "-$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
}
trap finish EXIT
trap 'exit 130' INT TERM

# burn: a process that is busy until the script that started it is gone, however that ended.
burn() {
    while kill -0 $$ 2>/dev/null; do
        for ((i = 0; i < 1000000; i++)); do :; done
    done
}

# failures LOG: the tests that failed, innermost only, behind each package the name of the package; also packages that
# did not build, and those that died outside of a test, with the tests that they were in.
failures() {
    awk '
        function add(name) { list = list " " name; n++ }
        /^ *--- FAIL: / { # in the output of `go test`, a test stands before its subtests
            if (kept != "" && index($3, kept "/") != 1) add(kept)
            kept = $3
        }
        /^panic: test timed out/ { running = 1 }
        running && /^\t+[^ \t]+ \([0-9.hms]+\)$/ { add($1 "(still running)") }
        /^panic: / && !/test timed out/ { add("(panic)") }
        /WARNING: DATA RACE/ { race = 1 }
        /^(ok|FAIL)[ \t]+[^ \t]/ {
            if (kept != "") add(kept)
            if (race) add("(data race)")
            if ($1 == "FAIL" && list == "") list = (/\[/ ? " (does not build)" : " (no test)")
            if ($1 == "FAIL") all = all (all == "" ? "" : ";") list " in " $2
            list = kept = ""; running = race = 0
        }
        END { print (all == "" ? " no test" : all) }' "$1"
}

for ((i = 0; i < load; i++)); do
    burn &
    burners+=($!)
done

failed=0
for ((n = 1; n <= runs; n++)); do
    log=$logs/$n.log begin=$SECONDS code=0 ended=
    make --no-print-directory test "$@" >"$log" 2>&1 </dev/null &
    run=$!
    while kill -0 "$run" 2>/dev/null; do
        if ((SECONDS - begin > limit)); then
            ended=" ended, since it took longer than $limit s;"
            kill -KILL -- "-$run" 2>/dev/null || true
        fi
        sleep 1
    done
    { wait "$run" || code=$?; } 2>/dev/null
    kill -KILL -- "-$run" 2>/dev/null || true # what it may have left behind
    run=
    if [ $code -eq 0 ]; then
        echo "run $n of $runs: $((SECONDS - begin)) s, ok"
        rm -f "$log"
    else
        failed=$((failed + 1))
        echo "run $n of $runs: $((SECONDS - begin)) s, FAILED ($log):$ended$(failures "$log")"
    fi
done
echo "$((runs - failed)) of $runs runs passed, beside $load busy processes"
[ $failed -eq 0 ]
