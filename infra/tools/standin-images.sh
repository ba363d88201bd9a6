#!/bin/sh
# Usage: standin-images.sh
#
# For machines whose Docker engine reaches no registry (CI): makes stand-ins for the images that compose.yaml and the
# Dockerfile start from, under the same names, out of this machine's own programs: busybox, Go's installation, and
# redis-server, haproxy and nginx with their libraries. An image that the engine has already is left alone.
# To be rid of them:  docker rmi $(docker images -q --filter label=sluice.standin)
set -eu
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# lacks NAME: sets image to the full name under which our files use it, and says whether the engine lacks it.
lacks() {
    image=$(cat compose.yaml infra/nginx/compose.yaml infra/docker/Dockerfile |
        sed -n "s/^ *\(image:\|FROM\) *\($1:[^ ]*\).*/\2/p" | head -n 1)
    [ -n "$image" ] || { echo "standin-images.sh: no file here uses an image $1" >&2 && exit 1; }
    ! docker image inspect "$image" >/dev/null 2>&1
}

# lay USER PROGRAM...: sets root to a new file system with busybox, the programs with the libraries that they load, and
# a user who owns /data.
lay() {
    root=$work/$1
    mkdir -p "$root/bin" "$root/etc/ssl/certs" "$root/root" "$root/tmp" "$root/data"
    chmod 1777 "$root/tmp"
    chown 999:999 "$root/data"
    printf 'root:x:0:0::/root:/bin/sh\n%s:x:999:999::/:/bin/false\n' "$1" >"$root/etc/passwd"
    printf 'root:x:0:\n%s:x:999:\n' "$1" >"$root/etc/group"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    shift
    for program in busybox "$@"; do
        program=$(command -v "$program")
        for file in "$program" $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
            mkdir -p "$root$(dirname "$file")"
            [ -e "$root$file" ] || cp -L "$file" "$root$file"
        done
    done
    for applet in $(busybox --list); do
        [ -e "$root/bin/$applet" ] || ln -s "$(command -v busybox)" "$root/bin/$applet"
    done
}

# import CHANGE...: makes root the image; the changes are lines of a Dockerfile.
import() {
    for change; do
        set -- "$@" --change "$change"
        shift
    done
    tar -C "$root" -c . | docker import --change 'LABEL sluice.standin=1' "$@" - "$image" >/dev/null
    rm -rf "$root"
    echo "made a stand-in for $image"
}

if lacks golang; then
    lay build
    mkdir -p "$root/usr/local/go"
    goroot=$(go env GOROOT)
    for part in bin go.env lib pkg src VERSION; do cp -a "$goroot/$part" "$root/usr/local/go/"; done
    import 'ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        'ENV GOPATH=/go' 'ENV GOTOOLCHAIN=local' "ENV GOPROXY=$(go env GOPROXY)"
fi
if lacks redis; then
    lay redis redis-server redis-cli
    import 'VOLUME /data' 'WORKDIR /data'
fi
if lacks haproxy; then
    lay haproxy haproxy
    import 'USER haproxy'
fi
if lacks nginx; then
    lay nginx nginx
    mkdir -p "$root/var/log/nginx" "$root/var/lib/nginx" # compiled in, opened before the configuration is read
    import
fi
