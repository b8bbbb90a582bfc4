#!/bin/sh
# Sees to it that the Debian packages which a target needs are there; the targets of the Makefile call it first.
#
#   setup.sh PURPOSE          PURPOSE: demo build test bench lint docs prove
#   setup.sh --list PURPOSE   prints the names only
#
# What is missing is named with its reason and installed by apt as root (or with sudo); nothing is ever removed
# for it, and a server that comes with a package is not started. Without root and without sudo, or when a package
# stands in the way, it says so and ends with code 2. Nothing missing: silent, in a few hundredths of a second.
set -u

# package | purposes | reason
table='
gcc|demo build test bench lint prove|the C compiler
libc6-dev|demo build test bench lint prove|headers of the C library
pkg-config|demo build test bench lint prove|finds the libraries
libsqlite3-dev|demo build test bench lint prove|the SQLite source
libmsgpack-dev|demo build test bench lint prove|the msgpack codec
libxxhash-dev|demo build test bench lint prove|checksums and hashing
libzstd-dev|demo build test bench lint prove|compression of large values
libjansson-dev|demo build test bench lint prove|the JSON codec
libhiredis-dev|demo build test bench lint prove|the protocol of Redis
lua5.4|demo build test bench lint prove|Lua 5.4
liblua5.4-dev|demo build test bench lint prove|headers of Lua 5.4
lua-argparse|demo build test bench lint prove|the command line of `larder`
luajit2|build test bench prove|LuaJIT, the one that nginx uses
libluajit2-5.1-dev|build test bench lint prove|headers of LuaJIT
lua-busted|test prove|runs the Lua specs
libcmocka-dev|test lint prove|runs the C specs
nginx|test bench prove|the web server of the nginx specs
libnginx-mod-http-lua|test bench prove|Lua inside nginx
curl|test bench prove|asks nginx
lua-cjson|test bench prove|JSON in the nginx specs; measured beside Larder
lua-resty-lrucache|bench|measured beside Larder
memcached|bench|measured beside Larder
redis-server|test bench prove|the shared shelf of the specs, which start their own
clang|lint|the second compiler
lua-check|lint|looks over the Lua sources
lua-ldoc|docs|makes pages of the Lua comments
luarocks|prove|installs the rock
valgrind|prove|looks for memory errors
'

wanted() { printf '%s' "$table" | awk -F'|' -v p="$1" 'index(" " $2 " ", " " p " ") { print $1 }'; }
reason() { printf '%s' "$table" | awk -F'|' -v n="$1" '$1 == n { print $3 }'; }
held() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p'; }
give_up() { printf 'set-up: %s\n' "$@" >&2; exit 2; }

missing_of() {
    names=$(wanted "$1")
    [ -n "$names" ] || give_up "no such purpose: $1"
    there=" $(held $names | tr '\n' ' ') "
    for n in $names; do
        case $there in *" $n "*) ;; *) echo "$n" ;; esac
    done
}

# The nginx module of Debian 12 works with luajit2 only, and nothing of luajit2 can stand beside luajit.
check_conflicts() {
    case " $missing " in *' luajit2 '* | *' libluajit2-5.1-dev '*) ;; *) return ;; esac
    old=$(echo $(held luajit libluajit-5.1-dev libluajit-5.1-2 libluajit-5.1-common))
    [ -z "$old" ] || give_up "luajit2 is needed (by nginx's Lua module), but it conflicts with what is installed: $old." \
        "Nothing was changed. If nothing of yours needs that: apt-get remove $old, then run this again."
}

# Kept from starting: while this file says 101, no package starts its server.
policy=/usr/sbin/policy-rc.d
mark='# written by the set-up of larder, removed when it ends'
hold_servers() {
    if [ -e "$policy" ] && ! grep -qsF "$mark" "$policy"; then
        mv "$policy" "$policy.larder-kept"
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
}
release_servers() {
    grep -qsF "$mark" "$policy" && rm -f "$policy"
    [ ! -e "$policy.larder-kept" ] || mv "$policy.larder-kept" "$policy"
}

# As root from here on.
install_now() {
    trap release_servers EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    hold_servers
    export DEBIAN_FRONTEND=noninteractive
    wait_lock='-o DPkg::Lock::Timeout=300'
    apt-get $wait_lock -q update </dev/null >&2 || echo 'set-up: apt-get update failed; trying with the lists that are there' >&2
    apt-get $wait_lock -q install -y --no-install-recommends --no-remove "$@" </dev/null >&2 ||
        give_up "apt-get could not install: $*" "Nothing was removed. See its words above."
}

case ${1-} in
'') give_up "usage: setup.sh PURPOSE" ;;
--list) wanted "$2"; exit 0 ;;
--install) shift; install_now "$@"; exit 0 ;;
esac

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "set-up: this is no Debian, so nothing is installed; needed are (by their Debian names):" $(wanted "$1") >&2
    exit 0
fi
missing=$(missing_of "$1") || exit 2
missing=$(echo $missing)
[ -n "$missing" ] || exit 0
check_conflicts

echo "set-up: 'make $1' needs these Debian packages, which are not installed:" >&2
for n in $missing; do printf '  %-24s %s\n' "$n" "$(reason "$n")" >&2; done

if [ "$(id -u)" -eq 0 ]; then
    install_now $missing
elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    sudo sh "$0" --install $missing || exit 2
else
    give_up "installing them takes root, and there is neither root nor sudo here. Ask for:" \
        "  apt-get install --no-install-recommends $missing"
fi
missing=$(missing_of "$1")
[ -z "$missing" ] || give_up "still missing: $(echo $missing)"
