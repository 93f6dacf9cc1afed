#!/bin/bash
# Copy-on-write beside Linux's: runs as root in a Linux that has dm-snapshot, on disks that may be
# overwritten: guest.sh DM-BENCH-COW ORIGIN COW1 [COW2]
#
# Prints for Linux's driver in the kernel and for ours in a process, in turn on the same disks: the
# microseconds of a write and of processor time for it, and what each write cost on the disks, by
# the kernel's own counts: sectors read from the origin, and transfers, sectors and flushes of the
# first COW disk. RUNS are words KIND,CHUNK,SNAPSHOTS,THREADS,KIB,COUNT; each is done ROUNDS times.
# Under qemu with -icount shift=0 a nanosecond of processor time is an instruction.
set -eu

cow=${1:?DM-BENCH-COW} origin=${2:?ORIGIN} first=${3:?COW} second=${4:-$3}
modprobe -q dm_snapshot || :

# counts DISK: writes, sectors written, flushes, and sectors read
counts() { awk -v disk="${1#/dev/}" '$3 == disk { print $8, $10, $19, $6 }' /proc/diskstats; }
# Milliseconds that no processor was idle, by its ticks.
busy() { awk '$1 == "cpu" { print ($2 + $3 + $4 + $7 + $8) * 10 }' /proc/stat; }
clear_stores() {
	for disk in "$first" "$second"; do dd if=/dev/zero of="$disk" bs=1M count=4 oflag=direct status=none; done
	sync
}

# timed COMMAND: leaves what it printed, and the counts before and behind.
timed() {
	before="$(counts "$first") $(counts "$origin") $(busy)"
	"$@" >/tmp/us
	after="$(counts "$first") $(counts "$origin") $(busy)"
}

linux() {
	local nr=0 disk
	dmsetup create base --table "0 $size linear $origin 0"
	for disk in "$first" "$second"; do
		[ "$nr" -lt "$snapshots" ] || break
		nr=$((nr + 1))
		dmsetup create snap$nr --table "0 $size snapshot /dev/mapper/base $disk $kind $chunk"
	done
	dmsetup create orig --table "0 $size snapshot-origin /dev/mapper/base"
	timed "$cow" path "$threads" "$kib" "$count" /dev/mapper/orig
	dmsetup remove orig
	while [ "$nr" -gt 0 ]; do
		dmsetup status snap$nr | grep -q / || echo "snap$nr is lost" >&2
		dmsetup remove snap$nr
		nr=$((nr - 1))
	done
	dmsetup remove base
}

ours() {
	local disks=()
	[ "$snapshots" -lt 1 ] || disks+=("$first")
	[ "$snapshots" -lt 2 ] || disks+=("$second")
	timed "$cow" ours "$threads" "$kib" "$count" "$kind" "$chunk" "$origin" ${disks[@]+"${disks[@]}"}
}

echo "driver	kind	chunk	snapshots	threads	KiB	us	CPU us	read	transfers	written	flushes"
every="P,8,0,1,4,1000 P,8,1,1,4,1000 P,8,2,1,4,1000 N,8,1,1,4,1000 P,8,1,16,4,4000 N,8,1,16,4,4000
	P,32,1,1,16,500 N,32,1,1,16,500 P,32,1,16,16,1000 P,256,1,1,128,200 N,256,1,1,128,200
	P,256,1,4,128,400 P,8,1,4,64,500"
for round in $(seq "${ROUNDS:-2}"); do
	for run in ${RUNS:-$every}; do
		IFS=, read -r kind chunk snapshots threads kib count <<<"$run"
		size=$((kib * 2 * count))
		# Each is first in every second round.
		order="linux ours"
		[ $((round % 2)) = 0 ] || order="ours linux"
		for driver in $order; do
			clear_stores
			$driver
			echo "$before $after" | awk -v OFS='\t' -v us="$(cat /tmp/us)" -v n="$count" \
				-v what="$driver	$kind	$chunk	$snapshots	$threads	$kib" '{
				printf "%s\t%s\t%.1f\t%.2f\t%.3f\t%.2f\t%.3f\n", what, us, ($18 - $9) * 1000 / n,
					($17 - $8) / n, ($10 - $1) / n, ($11 - $2) / n, ($12 - $3) / n
			}'
		done
	done
done
