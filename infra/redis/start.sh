#!/bin/sh
# Starts Redis with the users of shared/store/acl.conf, which has their rights; REDIS_PASSWORD_<user> is the password of
# each. Only their hashes are kept.
set -eu
umask 077
users=/data/users.conf

hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }

: >$users
while read -r word name rules; do
    [ "$word" = user ] || continue
    eval "password=\${REDIS_PASSWORD_$name:-}"
    [ -n "$password" ] || { echo "start.sh: REDIS_PASSWORD_$name is not set" >&2 && exit 1; }
    echo "user $name on #$(hash "$password") $rules" >>$users
done </usr/local/etc/redis-users/acl.conf
if [ -n "${REDIS_PASSWORD_default:-}" ]; then
    echo "user default on resetpass #$(hash "$REDIS_PASSWORD_default") ~* &* +@all" >>$users
fi
exec redis-server /usr/local/etc/redis/redis.conf --include $users
