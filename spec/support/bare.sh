#!/bin/sh
# Shows that a clone and `make` are enough: builds a bare Debian 12, puts a clone of the last commit into it and
# types `make demo` and `make test` there; twice as root, then as a user without root. Before that, the same user
# on the bare system must be told what is missing. Needs root, debootstrap, git and the network; takes some minutes.
#
#   bare.sh          everything          (make prove PART=bare)
#   bare.sh demo     only `make demo`    bare.sh test     only `make test`
#
# Package sources are those of this machine. The base system is kept in $TMPDIR for the next time. All mounts are
# made in a mount namespace of its own, so nothing stays behind however this ends.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${TMPDIR:-/tmp}/larder-bare-base.tar
targets=${*:-demo test}
inside=/root/larder

give_up() { echo "bare: $*" >&2; exit 2; }

if [ "${1-}" != --in-namespace ]; then
    [ "$(id -u)" -eq 0 ] || give_up "needs root"
    for tool in debootstrap git unshare; do command -v $tool >/dev/null || give_up "needs $tool"; done
    # shellcheck disable=SC2086
    exec unshare --mount --propagation private --pid --fork --kill-child sh "$0" --in-namespace $targets
fi
shift
targets=$*

tree=$(mktemp -d "${TMPDIR:-/tmp}/larder-bare.XXXXXX") || exit 2
clean() {
    for m in proc sys dev; do umount -R "$tree/$m" 2>/dev/null; done
    # Never beyond a mount that stayed.
    rm -rf --one-file-system "$tree"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

make_base() {
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -1)
    echo "bare: making the base system"
    debootstrap --variant=minbase --include=make bookworm "$tree" "${mirror:-}" >"$cache.log" 2>&1 ||
        { tail -5 "$cache.log"; give_up "debootstrap failed"; }
    tar -C "$tree" --one-file-system -cf "$cache.new" . && mv "$cache.new" "$cache"
}
if [ -f "$cache" ]; then tar -C "$tree" -xpf "$cache"; else make_base; fi
chmod 755 "$tree"

# The package sources of this machine, how it reaches them, and names.
rm -rf "$tree/etc/apt/sources.list" "$tree/etc/apt/sources.list.d"
for f in sources.list sources.list.d trusted.gpg.d keyrings; do
    [ ! -e /etc/apt/$f ] || cp -rL /etc/apt/$f "$tree/etc/apt/"
done
mkdir -p "$tree/usr/share/keyrings"
cp -L /usr/share/keyrings/*.gpg "$tree/usr/share/keyrings/" 2>/dev/null
apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)' >"$tree/etc/apt/apt.conf.d/90host"
cp -L /etc/resolv.conf /etc/hosts "$tree/etc/" 2>/dev/null

mount -t proc proc "$tree/proc" && mount --rbind /sys "$tree/sys" && mount --rbind /dev "$tree/dev" || give_up "mounting failed"
git clone -q --no-hardlinks "$root" "$tree$inside" || give_up "git clone failed"
chroot "$tree" useradd -m guest
cp -r "$tree$inside" "$tree/home/guest/larder"
chroot "$tree" chown -R guest: /home/guest/larder

bad=0
steps=0
# step WANTED-CODE WHO TARGET
step() {
    steps=$((steps + 1))
    s_log=$cache.step$steps.log
    s_from=$(date +%s)
    case $2 in
    root) s_home=/root s_user=0:0 ;;
    *) s_home=/home/guest s_user=guest:guest ;;
    esac
    env -i HOME=$s_home PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb CI=true \
        chroot --userspec=$s_user "$tree" sh -c "cd ~/larder && make $3" >"$s_log" 2>&1 </dev/null
    s_code=$?
    printf '%-6s make %-6s ended with %d after %d s: %s\n' "$2" "$3" $s_code $(($(date +%s) - s_from)) "$(grep -v '^make' "$s_log" | grep . | tail -1)"
    [ "$s_code" -eq "$1" ] && return
    bad=$((bad + 1))
    tail -40 "$s_log" | sed 's/^/    /'
}
twice() { for round in 1 2; do for t in $targets; do step 0 "$1" "$t"; done; done; }

for t in $targets; do step 2 guest "$t"; done
before=$(chroot "$tree" dpkg-query -W | wc -l)
twice root
echo "packages: $before before, $(chroot "$tree" dpkg-query -W | wc -l) after; policy-rc.d $([ -e "$tree/usr/sbin/policy-rc.d" ] && echo left behind || echo gone)"
[ ! -e "$tree/usr/sbin/policy-rc.d" ] || bad=$((bad + 1))
for t in $targets; do step 0 guest "$t"; done
printf '%d steps, %d not as expected\n' "$steps" "$bad"
[ "$bad" -eq 0 ]
