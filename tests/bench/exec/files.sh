#!/bin/sh
# A file system on a mapped device beside one on the loop device below it: as root,
#	dmhost exec sh files.sh [ROUNDS]
#
# Two loop devices over two files in memory, one of them with a linear device on top; each work is
# done on both in turn, round by round, so that whatever else the machine does meets both. Prints
# the median of each, and that of the ratios of one round: mapped through plain, 1 is the ideal.
set -eu
rounds=${1:-5}
folder=/dev/shm
[ -d $folder ] || folder=${TMPDIR:-/tmp}
dir=$(mktemp -d "$folder/dm-exec.XXXXXX")
mapped=dmbench$$

finish() {
	umount "$dir/mnt" 2>/dev/null || :
	dmsetup remove --retry "$mapped" 2>/dev/null || :
	for disk in ${plain:-} ${below:-}; do losetup -d "$disk"; done
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

mkdir "$dir/mnt"
truncate -s 384M "$dir/one" "$dir/two"
loop() { losetup -f --show --direct-io=on "$1" 2>/dev/null || losetup -f --show "$1"; }
plain=$(loop "$dir/one")
below=$(loop "$dir/two")
dmsetup create "$mapped" --table "0 $(blockdev --getsz "$below") linear $below 0"

now() { date +%s%N; }
# timed COMMAND...: its microseconds.
timed() {
	start=$(now)
	"$@" >/dev/null 2>&1
	echo $((($(now) - start) / 1000))
}
copy() { cp -a /usr/include/. "$dir/mnt/include" && sync -f "$dir/mnt"; }
find_all() { echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || :; cat "$dir"/mnt/include/*.h; }
write_all() { dd if=/dev/zero of="$dir/mnt/data" bs=1M count=128 conv=fsync status=none; }
read_all() { dd if="$dir/mnt/data" of=/dev/null bs=1M iflag=direct status=none; }
read_small() { dd if="$dir/mnt/data" of=/dev/null bs=4k count=4000 iflag=direct status=none; }
write_small() { dd if=/dev/zero of="$dir/mnt/data" bs=4k count=4000 oflag=direct conv=notrunc status=none; }
commit() { for file in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of="$dir/mnt/$file" bs=4k count=1 conv=fsync status=none; done; }

one() {
	mkfs.ext4 -q -F "$2"
	mount "$2" "$dir/mnt"
	mkdir "$dir/mnt/include"
	for work in copy find_all write_all read_all write_small read_small commit; do
		echo "$work $1 $(timed $work)"
	done
	umount "$dir/mnt"
}

round=0
while [ $round -lt "$rounds" ]; do
	one plain "$plain"
	one mapped "/dev/mapper/$mapped"
	round=$((round + 1))
done >"$dir/samples"

awk '
function median(list, count,    i, j, value) {
	for (i = 2; i <= count; i++) {
		value = list[i]
		for (j = i - 1; j >= 1 && list[j] > value; j--) list[j + 1] = list[j]
		list[j + 1] = value
	}
	return list[int((count + 1) / 2)]
}
!($1 in count) { works[++known] = $1 }
$2 == "plain" { plain[$1, ++count[$1]] = $3 }
$2 == "mapped" { mapped[$1, count[$1]] = $3 }
END {
	printf "%-12s %12s %12s %7s\n", "work", "plain, ms", "mapped, ms", "ratio"
	for (w = 1; w <= known; w++) {
		name = works[w]
		for (i = 1; i <= count[name]; i++) {
			a[i] = plain[name, i]
			b[i] = mapped[name, i]
			c[i] = b[i] / a[i]
		}
		all = count[name]
		printf "%-12s %12.1f %12.1f %7.2f\n", name, median(a, all) / 1e3, median(b, all) / 1e3, median(c, all)
	}
}' "$dir/samples"
