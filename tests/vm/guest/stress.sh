#!/bin/sh
# Everything at once: stress.sh [seconds]. Verified I/O on devices that lie on one another while
# their tables are swapped and they are suspended, resumed and renamed; others come and go;
# memory is short and swapped to a mapped device; a disk below fails. What was written must be
# read, nothing may hang, and no memory may be lost.
# shellcheck disable=SC2086
: "${DMSETUP:=/sbin/dmsetup}" "${DM_DISK1:?}" "${DM_DISK2:?}" "${DM_TOOL:?}"
seconds=${1:-1800}
b1=/dev/$DM_DISK1 b2=/dev/$DM_DISK2 m=/dev/mapper
work=${DM_WORK:-/tmp/dm-stress}
rm -rf "$work" && mkdir -p "$work" && cd "$work" || exit 1
modload dm 2>/dev/null

dm() { "$DMSETUP" "$@" >/dev/null 2>&1; }
load() { printf '%s\n' "$3" >"$work/table.$2" && dm "$1" "$2" "$work/table.$2"; }
# Pools that this driver or its property lists use, and how many objects of each are out.
in_use() { vmstat -m | awk '$1 ~ /^(prop|pd|dm)/ { print $1, $3 - $5 }' | sort; }
fail() {
	echo "stress failed: $*"
	: >"$work/failed"
}

setup() {
	load create base "0 131072 striped 2 128 $b1 0 $b2 0"
	load create mid "0 120000 linear $m/base 64"
	load create top "0 100000 linear $m/mid 1024"
	load create side "0 65536 linear $b1 131072"
	load create swap "0 65536 linear $b2 131072"
	swapctl -a $m/swap
	dd if=/dev/zero of=image bs=64k count=256 2>/dev/null
	vnconfig vnd0 "$work/image"
	load create bad "0 16384 linear /dev/vnd0d 0"
}

# Cuts "top" and "mid" differently each time; what they hold stays.
swap_tables() {
	nr=0
	while [ ! -e over ]; do
		nr=$((nr + 1))
		cut=$((nr * 777 % 90000 + 1))
		load reload top "0 $cut linear $m/mid 1024
$cut $((100000 - cut)) linear $m/mid $((cut + 1024))"
		dm resume top
		load reload mid "0 $cut linear $m/base 64
$cut $((120000 - cut)) linear $m/base $((cut + 64))"
		dm suspend mid
		dm resume mid
		dm suspend --noflush side
		dm resume side
		# Back at once: who opens it by its name finds it most of the time.
		dm rename side moved
		dm rename moved side
	done
	echo "tables swapped: $nr"
}

come_and_go() {
	nr=0
	while [ ! -e over ]; do
		nr=$((nr + 1))
		load create "guest$1" "0 4096 linear $m/base 120064
4096 64 zero
4160 64 error"
		dd if="$m/rguest$1" of=/dev/null bs=64k count=32 2>/dev/null
		dd if="$m/rguest$1" of=/dev/null bs=512 skip=4150 count=20 2>/dev/null
		dm remove "guest$1"
		modunload dm 2>/dev/null && fail "the module went while it was used"
		# What another client removes meanwhile may be missing, but no client dies of it.
		for command in info status table; do
			"$DMSETUP" $command >/dev/null 2>&1
			[ $? -lt 128 ] || [ -e over ] || fail "$command died"
		done
	done
	echo "devices came and went: $nr"
}

stomp() {
	nr=0
	while [ ! -e over ]; do
		nr=$((nr + 1))
		[ -c "$1" ] || continue
		"$DM_TOOL" stomp "$1" 20 "$2" $nr $3 >>"log.${1##*/}" 2>&1 ||
			grep -q 'No such file' "log.${1##*/}" || fail "$1: $(tail -n 1 "log.${1##*/}")"
	done
}

# The disk goes away under its device, and comes back. Not in the middle of a transfer: vnd(4)
# itself does not take that well.
break_disk() {
	nr=0
	while [ ! -e over ]; do
		nr=$((nr + 1))
		sleep 5
		dm suspend bad
		vnconfig -u -F vnd0 2>/dev/null
		dm resume bad
		sleep 2
		load reload bad "0 16384 error"
		dm resume bad
		sleep 1
		vnconfig vnd0 "$work/image" 2>/dev/null
		load reload bad "0 16384 linear /dev/vnd0d 0"
		dm resume bad
	done
	echo "a disk went and came: $nr"
}

in_use >before
setup
stomp $m/rtop 3 &
stomp $m/rside 2 &
stomp $m/rbad 1 errors &
swap_tables &
come_and_go 1 &
come_and_go 2 &
break_disk &
while [ ! -e over ]; do "$DM_TOOL" hog "${DM_HOG:-200}" 20 >/dev/null 2>&1; done &
sleep "$seconds"
: >over
wait
cat log.*
for name in top mid base side swap bad; do
	[ $name != swap ] || swapctl -d $m/swap
	dm resume $name
	dm remove $name || fail "$name is not removed"
done
left=$("$DMSETUP" ls 2>/dev/null | awk 'NF > 1 && $1 != "No"')
[ -z "$left" ] || fail "devices are left: $left"
in_use >after
echo "pools that grew (name, before, after):"
join before after | awk '$3 > $2 { print "	" $0 }'
modunload dm || fail "the module does not go"
[ ! -e failed ] && echo "stress passed: $seconds seconds"
