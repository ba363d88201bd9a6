#!/bin/sh
# Usage: need.sh PROGRAM...
#
# Makes sure that the programs which the tests need are there: redis-server, node, npm, python3, python3-redis (its module),
# cc, which is a C compiler with its headers (for the race detector), the browsers chromium, firefox-esr and cog (of WebKit),
# and for the tests in containers dockerd, docker-compose, haproxy, nginx and busybox. What is missing is installed with the
# system's package manager, and said. Where that is not possible, one sentence says what to do, and the exit code is 1.
set -eu

fail() {
    echo "$*" >&2
    exit 1
}

there() {
    case $1 in
    # Go's choice of compiler may carry arguments, hence no quotes. A compiler without libc's headers is of no use.
    cc) echo '#include <stdlib.h>' | $(go env CC) -E - ;;
    python3-redis) python3 -c 'import redis' || /usr/bin/python3 -c 'import redis' ;; # another python3 may be before the system's
    *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

packages() {
    case "$manager $1" in
    'apt-get redis-server') echo redis-server ;;
    *' redis-server') echo redis ;;
    'apt-get cc') echo gcc libc6-dev ;;
    'apk cc') echo gcc musl-dev ;;
    'dnf cc') echo gcc glibc-devel ;;
    'brew cc') fail "there is no C compiler: run 'xcode-select --install', then try again" ;;
    'apt-get node' | 'dnf node' | 'apk node') echo nodejs ;;
    'brew node' | 'brew npm') echo node ;;
    *' npm') echo npm ;;
    *' python3') echo python3 ;;
    'apk python3-redis') echo py3-redis ;;
    'brew python3-redis') fail "there is no Python module redis: run 'python3 -m pip install redis', then try again" ;;
    *' python3-redis') echo python3-redis ;;
    *' chromium') echo chromium ;;
    'apt-get firefox-esr') echo firefox-esr ;;
    'apt-get cog') echo cog ;;
    'apt-get dockerd') echo docker.io ;;
    'apt-get docker-compose') echo docker-compose ;;
    'apt-get haproxy') echo haproxy ;;
    'apt-get nginx') echo nginx-light ;;
    'apt-get busybox') echo busybox-static ;;
    *) fail "need.sh does not know a package of $manager for $1" ;;
    esac
}

apt() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@"
}

install() {
    case $manager in
    apt-get)
        # Debian starts the service of a package that it installs, and the tests start a Redis of their own.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e $policy ]; then
            # The signals' traps only exit, so that the file is removed in one place.
            trap '$root rm -f $policy' EXIT
            trap 'exit 130' INT TERM
            printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
            $root chmod 755 $policy
        fi
        apt update && apt install --no-install-recommends "$@" && return
        sleep 5 # once more: mirrors have short spells in which they refuse
        apt update && apt install --no-install-recommends "$@"
        ;;
    apk) $root apk add --no-cache "$@" ;;
    dnf) $root dnf install -y "$@" ;;
    brew) brew install "$@" ;;
    esac
}

missing=
for program; do
    there "$program" || missing="$missing $program"
done

if [ -n "$missing" ]; then
    manager=
    for m in apt-get apk dnf brew; do
        if command -v $m >/dev/null; then manager=$m && break; fi
    done
    [ -n "$manager" ] ||
        fail "missing:$missing; none of apt-get, apk, dnf and brew is here to install it: install it by hand, then try again"

    root=
    if [ "$(id -u)" -ne 0 ] && [ "$manager" != brew ]; then
        command -v sudo >/dev/null ||
            fail "missing:$missing; only root can install it with $manager and there is no sudo: install it by hand, then try again"
        root=sudo
    fi

    wanted=
    for program in $missing; do
        packages=$(packages "$program")
        wanted="$wanted $packages"
    done
    echo "missing:$missing; installing with $manager:$wanted"
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of names
    if ! install $wanted >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "$manager could not install$wanted (its words are above): install it by hand, then try again"
    fi
    rm -f "$log"
    for program in $missing; do
        there "$program" || fail "$manager has installed$wanted, but $program still cannot be used: install it by hand, then try again"
    done
fi

# Sluice needs SET with NX and GET together, which is new in Redis 7.0.
case " $* " in
*' redis-server '*)
    version=$(redis-server --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
    [ "${version%%.*}" -ge 7 ] 2>/dev/null ||
        fail "$(command -v redis-server) is version ${version:-unknown}, the tests need Redis 7.0 or newer: install one and put it first on the PATH"
    ;;
esac
