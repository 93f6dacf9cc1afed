#!/bin/bash
# Copy-on-write beside Linux's: runs as root in a Linux that has dm-snapshot, on disks that may be
# overwritten: guest.sh DM-BENCH-COW ORIGIN COW1 COW2
#
# Prints for Linux's driver in the kernel and for ours in a process, on the same disks, with no,
# one and two snapshots: the microseconds of a write, and what each write cost on the disks, by
# the kernel's own counts: sectors read from the origin, and transfers, sectors and flushes
# of the first COW disk. SIZES are words THREADS,KIB,COUNT.
set -eu

cow=${1:?DM-BENCH-COW} origin=${2:?ORIGIN} first=${3:?COW} second=${4:?COW}
modprobe -q dm_snapshot || :

# counts DISK: sectors read, writes, sectors written, flushes
counts() { awk -v disk="${1#/dev/}" '$3 == disk { print $6, $8, $10, $19 }' /proc/diskstats; }
clear_stores() {
	for disk in $first $second; do dd if=/dev/zero of="$disk" bs=1M count=1 oflag=direct status=none; done
	sync
}

linux() { # linux SNAPSHOTS THREADS KIB COUNT
	local nr=0 sectors=$(($3 * 2 * $4)) disk
	dmsetup create base --table "0 $sectors linear $origin 0"
	for disk in $first $second; do
		[ "$nr" -lt "$1" ] || break
		nr=$((nr + 1))
		dmsetup create snap$nr --table "0 $sectors snapshot /dev/mapper/base $disk P 8"
	done
	dmsetup create orig --table "0 $sectors snapshot-origin /dev/mapper/base"
	before=$(counts "$first") read_before=$(counts "$origin")
	"$cow" path "$2" "$3" "$4" /dev/mapper/orig
	after=$(counts "$first") read_after=$(counts "$origin")
	dmsetup remove orig
	while [ "$nr" -gt 0 ]; do dmsetup remove snap$nr; nr=$((nr - 1)); done
	dmsetup remove base
}

ours() {
	local disks=()
	[ "$1" -lt 1 ] || disks+=("$first")
	[ "$1" -lt 2 ] || disks+=("$second")
	before=$(counts "$first") read_before=$(counts "$origin")
	"$cow" ours "$2" "$3" "$4" "$origin" ${disks[@]+"${disks[@]}"}
	after=$(counts "$first") read_after=$(counts "$origin")
}

echo "driver	snapshots	threads	KiB	us/write	origin sectors read	cow writes	cow sectors	cow flushes"
for size in ${SIZES:-1,4,1000 16,4,4000 4,64,500}; do
	IFS=, read -r threads kib count <<<"$size"
	for snapshots in 0 1 2; do
		for driver in linux ours linux ours; do
			clear_stores
			$driver "$snapshots" "$threads" "$kib" "$count" >/tmp/us
			us=$(cat /tmp/us)
			echo "$before $after $read_before $read_after" | awk -v OFS='\t' -v d="$driver" -v s="$snapshots" \
				-v t="$threads" -v k="$kib" -v us="$us" -v n="$count" \
				'{ printf "%s\t%d\t%d\t%d\t%s\t%.2f\t%.3f\t%.2f\t%.3f\n", d, s, t, k, us, ($13 - $9) / n, ($6 - $2) / n, ($7 - $3) / n, ($8 - $4) / n }'
		done
	done
done
