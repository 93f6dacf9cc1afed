#!/bin/sh
# The demonstration: starts the driver in a process, makes mapped devices, uses them, shows them.
# Every line behind "$" ran as printed. Ends with exit status 0 only if all of it worked.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
PATH=$top/target/release:$PATH
dir=$(mktemp -d "${TMPDIR:-/tmp}/dm.XXXXXX")
export DM_DEV_DIR="$dir/dev"
cd "$dir"

say() { printf '\n# %s\n' "$*"; }
# run COMMAND...: prints it as one would type it, and runs it.
run() {
	printf '$'
	for word in "$@"; do
		case $word in
		*[!A-Za-z0-9_./:=@+-]*) printf " '%s'" "$word" ;;
		*) printf ' %s' "$word" ;;
		esac
	done
	printf '\n'
	"$@"
}
have() { command -v "$1" >/dev/null 2>&1; }
skipped() { printf '# SKIPPED: %s\n' "$*"; }

finish() {
	status=$?
	umount "$dir/mnt" 2>/dev/null || true
	[ -z "${loop:-}" ] || losetup --detach "$loop" 2>/dev/null || true
	if [ -n "${host:-}" ] && kill "$host" 2>/dev/null; then wait "$host" || true; fi
	cd /
	if [ "$status" -eq 0 ]; then rm -rf "$dir"; else printf 'Left for you to look at: %s\n' "$dir"; fi
	exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM

wait_for() { # wait_for COMMAND...: until it succeeds, 10 seconds at most
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 200 ] || return 1
		sleep 0.05
	done
}

start() {
	say "The driver, in a process"
	# shellcheck disable=SC2016 # as one would type it
	printf '$ dmhost --dev-dir %s &\n' '$DM_DEV_DIR'
	dmhost --foreground --dev-dir "$DM_DEV_DIR" 2>dmhost.log &
	host=$!
	wait_for dmsetup version || {
		cat dmhost.log
		exit 1
	}
	run dmsetup version
	run dmsetup targets
}

make_devices() {
	say "Two image files made one disk, four made a striped one"
	for image in a b c d e f; do truncate -s 32M "$image.img"; done
	run dmsetup create joined --table "0 65536 linear $dir/a.img 0
65536 65536 linear $dir/b.img 0"
	run dmsetup create fast --table \
		"0 262144 striped 4 128 $dir/c.img 0 $dir/d.img 0 $dir/e.img 0 $dir/f.img 0"
	run dmsetup ls
	run dmsetup table
	run dmsetup status fast
	run dmsetup info joined
}

mounted_copy() {
	loop=$(losetup --find --show "$DM_DEV_DIR/mapper/$1" 2>/dev/null) || {
		skipped "no loop devices: the file system is made, but not mounted"
		return 0
	}
	mkdir -p mnt
	mount "$loop" mnt 2>/dev/null || {
		skipped "mount(8) is not allowed here"
		return 0
	}
	say "Copy the source tree in, while the table is swapped underneath"
	printf '$ cp -a sys lib sbin mnt/ &\n'
	cp -a "$top/sys" "$top/lib" "$top/sbin" mnt/ &
	copy=$!
	run dmsetup load "$1" --table "0 1000 linear $dir/a.img 0
1000 64536 linear $dir/a.img 1000
65536 65536 linear $dir/b.img 0"
	run dmsetup resume "$1"
	wait "$copy"
	run diff -r "$top/sys" mnt/sys
	run diff -r "$top/lib" mnt/lib
	run umount mnt
	run losetup --detach "$loop"
	loop=
}

file_system() {
	if [ ! -e "$DM_DEV_DIR/mapper/joined" ]; then
		skipped "devices are not shown as files here (no FUSE); they are served over NBD"
		return 0
	fi
	have mkfs.ext4 || {
		skipped "there is no mkfs.ext4"
		return 0
	}
	say "A file system on it"
	run mkfs.ext4 -q -F "$DM_DEV_DIR/mapper/joined"
	mounted_copy joined
	run e2fsck -fn "$DM_DEV_DIR/mapper/joined"
}

over_nbd() {
	say "The same devices over NBD"
	if ! have nbdinfo || ! have nbdcopy; then
		skipped "there is no nbdinfo or no nbdcopy (Debian: libnbd-bin)"
		return 0
	fi
	uri() { printf 'nbd+unix:///%s?socket=%s/nbd.sock' "$1" "$DM_DEV_DIR"; }
	run nbdinfo --size "$(uri joined)"
	run nbdcopy "$(uri joined)" copy.img
	cat a.img b.img >both.img
	run cmp copy.img both.img
}

suspended() {
	say "Suspended devices queue, refused commands say why"
	run dmsetup suspend fast
	run dmsetup info -c fast
	run dmsetup resume fast
	printf '$ dmsetup create wrong --table "0 99999999 linear a.img 0"\n'
	if dmsetup create wrong --table "0 99999999 linear $dir/a.img 0"; then
		echo "that should have failed"
		exit 1
	fi
	run dmsetup remove_all
	run dmsetup ls
}

start
make_devices
file_system
over_nbd
suspended
say "All of it worked."
