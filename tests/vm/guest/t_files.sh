#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# what a disk is for: file systems, swap, labels, wedges
. "$(dirname "$0")/dm.subr"

# A linear and a striped part: 40 MB.
make_volume() {
	make "$1" "0 40960 linear $b1 64
40960 40960 striped 2 128 $b1 49152 $b2 128"
}

fill() { # fill PLACE: files of many sizes
	mkdir "$1/files"
	cp -R /bin /etc "$1/files/" || atf_fail "copying: $(df "$1")"
	dd if=/dev/urandom of="$1/files/large" bs=64k count=64 2>/dev/null
}

new_case a_file_system_keeps_its_files 300
a_file_system_keeps_its_files_body() {
	stamp
	make_volume vol
	newfs $m/rvol >/dev/null || atf_fail newfs
	mkdir place
	mount -t ffs $m/vol place || atf_fail mount
	fill place
	cksum -a sha1 <place/files/large >sum
	umount place || atf_fail umount
	fsck -fn $m/rvol >out 2>&1 || atf_fail "fsck: $(cat out)"
	mount -t ffs -r $m/vol place || atf_fail "mount again"
	diff -r /bin place/files/bin || atf_fail "files differ"
	same large "$(cksum -a sha1 <place/files/large)" "$(cat sum)"
	umount place
}

new_case a_journal_is_replayed_and_flushed 300
a_journal_is_replayed_and_flushed_body() {
	stamp
	make_volume vol
	newfs -O2 $m/rvol >/dev/null || atf_fail newfs
	mkdir place
	mount -t ffs -o log $m/vol place || atf_skip "this kernel has no WAPBL"
	fill place
	umount place || atf_fail umount
	fsck -fn $m/rvol >out 2>&1 || atf_fail "fsck: $(cat out)"
}

new_case dump_and_restore 300
dump_and_restore_body() {
	need dump
	stamp
	make_volume vol
	newfs $m/rvol >/dev/null || atf_fail newfs
	mkdir place back
	mount -t ffs $m/vol place || atf_fail mount
	fill place
	umount place
	dump -0 -f vol.dump $m/rvol 2>out || atf_fail "dump: $(cat out)"
	(cd back && restore -rf ../vol.dump 2>../out) || atf_fail "restore: $(cat out)"
	diff -r /bin back/files/bin || atf_fail "files differ"
}

new_case a_file_system_survives_new_tables 300
a_file_system_survives_new_tables_body() {
	stamp
	make vol "0 65536 linear $b1 0"
	newfs $m/rvol >/dev/null || atf_fail newfs
	mkdir place
	mount -t ffs $m/vol place || atf_fail mount
	(cp -R /bin /sbin place/ && : >copied) &
	nr=0
	while [ $nr -lt 10 ]; do
		nr=$((nr + 1))
		dm suspend vol
		load reload vol "0 1000 linear $b1 0
1000 64536 linear $b1 1000"
		dm resume vol
		dm reload vol --table "0 65536 linear $b1 0"
		dm resume vol
	done
	wait
	[ -e copied ] || atf_fail "the copy failed"
	umount place || atf_fail umount
	fsck -fn $m/rvol >out 2>&1 || atf_fail "fsck: $(cat out)"
	mount -t ffs -r $m/vol place
	diff -r /sbin place/sbin || atf_fail "files differ"
	umount place
}

new_case a_file_system_grows 300
a_file_system_grows_body() {
	need resize_ffs
	stamp
	make vol "0 32768 linear $b1 0"
	newfs $m/rvol >/dev/null || atf_fail newfs
	load reload vol "0 32768 linear $b1 0
32768 32768 linear $b2 0"
	dm resume vol
	resize_ffs -y $m/rvol >out 2>&1 || atf_fail "resize_ffs: $(cat out)"
	fsck -fn $m/rvol >out 2>&1 || atf_fail "fsck: $(cat out)"
	mkdir place
	mount -t ffs $m/vol place || atf_fail mount
	fill place
	umount place || atf_fail umount
}

new_case swapping
swapping_body() {
	stamp
	make sw "0 65536 striped 2 128 $b1 0 $b2 0"
	swapctl -a $m/sw || atf_fail "swapctl -a"
	swapctl -l | grep -q mapper/sw || atf_fail "it is not listed"
	hide sw
	dm remove sw
	show sw
	exists sw || atf_fail "removed while it is swapped to"
	swapctl -d $m/sw || atf_fail "swapctl -d"
	dm remove sw
	! exists sw || atf_fail "not removed afterwards"
}

new_case labels_and_partition_tables
labels_and_partition_tables_body() {
	need disklabel
	stamp
	make vol "0 65536 linear $b1 0"
	disklabel $m/rvol >out 2>&1 || atf_fail "disklabel: $(cat out)"
	grep -q 'd:.*65536' out || atf_fail "the label tells of no 65536 sectors: $(cat out)"
	fdisk -f -u -0 -s 169/63/1024 $m/rvol >out 2>&1 </dev/null || atf_fail "fdisk: $(cat out)"
	fdisk $m/rvol >out 2>&1 || atf_fail "fdisk: $(cat out)"
	grep -q 'sysid 169' out || atf_fail "fdisk shows no partition: $(cat out)"
	dkctl $m/rvol getcache >out 2>&1 || true
	dkctl $m/rvol synccache >out 2>&1 || atf_fail "dkctl synccache: $(cat out)"
}

new_case a_label_is_written_and_read_back
a_label_is_written_and_read_back_body() {
	need disklabel
	stamp
	make vol "0 65536 linear $b1 0"
	disklabel $m/rvol >told 2>&1 || atf_fail "disklabel: $(cat told)"
	# Another name, and two partitions besides the whole.
	sed -e 's/^label:.*/label: written/' -e '/^ *[a-p]:/d' -e 's/^[0-9]* partitions:/8 partitions:/' \
		told >proto
	cat >>proto <<-END
		 a: 32768 64 4.2BSD 1024 8192 16
		 d: 65536 0 unused 0 0
		 e: 16384 32832 swap
	END
	disklabel -F -R $m/rvol proto >out 2>&1 || atf_fail "disklabel -F -R: $(cat out)"
	disklabel -F $m/rvol >out 2>&1 || atf_fail "disklabel -F: $(cat out)"
	grep -q '^label: written' out || atf_fail "it has another name: $(cat out)"
	grep -Eq '^ e: +16384 +32832 +swap' out || atf_fail "it has other partitions: $(cat out)"
	# It lies on the disk, where a disk's label lies, and nothing else was written.
	same label "$(sectors $m/rvol 0 16)" "$(sectors "$r1" 0 16)"
	dd if="$r1" bs=512 skip=1 count=1 2>/dev/null | grep -q written || atf_fail "not in sector 1"
	# With its own commands, interactively.
	printf 'N\nasked\nW\ny\nQ\n' | disklabel -F -i $m/rvol >out 2>&1
	disklabel -F $m/rvol >out 2>&1
	grep -q '^label: asked' out || atf_fail "disklabel -i: $(cat out)"
	# The kernel makes no partitions of it: a mapped device is one.
	disklabel -R -r $m/rvol proto >out 2>&1 && atf_fail "the kernel took the label"
	grep -q DIOCWDINFO out || atf_fail "it says something else: $(cat out)"
	disklabel $m/rvol >again 2>&1
	cmp told again || atf_fail "the device tells of another label: $(cat again)"
}

new_case a_geometry_that_is_set_is_told
a_geometry_that_is_set_is_told_body() {
	need disklabel
	stamp
	make vol "0 65536 linear $b1 0"
	dm setgeometry vol 16 64 64 0 || atf_skip "this dmsetup sets no geometry"
	disklabel $m/rvol >out 2>&1 || atf_fail "disklabel: $(cat out)"
	grep -q 'tracks/cylinder: 64' out || atf_fail "the label has another: $(cat out)"
}

new_case wedges_are_found_and_used 300
wedges_are_found_and_used_body() {
	need gpt
	stamp
	make vol "0 65536 linear $b1 0"
	gpt create $m/rvol || atf_fail "gpt create"
	gpt add -b 64 -s 40000 -t ffs -l dm-wedge $m/rvol || atf_fail "gpt add"
	dm remove vol
	make vol "0 65536 linear $b1 0"
	dkctl $m/rvol listwedges >out 2>&1
	wedge=$(sed -n 's/^\(dk[0-9]*\):.*/\1/p' out | head -1)
	[ -n "$wedge" ] || atf_fail "no wedge was found: $(cat out)"
	[ -e "/dev/r$wedge" ] || (cd /dev && sh MAKEDEV "$wedge")
	newfs "/dev/r$wedge" >/dev/null || atf_fail newfs
	mkdir place
	mount -t ffs "/dev/$wedge" place || atf_fail mount
	cp /bin/sh place/ || atf_fail "a copy"
	cmp /bin/sh place/sh || atf_fail "the file is another"
	dm remove vol
	exists vol || atf_fail "removed while its wedge is mounted"
	dm mknodes
	umount place || atf_fail umount
	fsck_ffs -fn "/dev/r$wedge" >out 2>&1 || atf_fail "fsck: $(cat out)"
	dm remove vol
	! exists vol || atf_fail "not removed afterwards"
	sysctl -n hw.disknames | tr ' ' '\n' | grep -qx "$wedge" && atf_fail "the wedge is still there"
	true
}

new_case wedges_are_made_by_hand
wedges_are_made_by_hand_body() {
	stamp
	make vol "0 65536 linear $b1 0"
	dkctl $m/rvol addwedge by-hand 128 4096 ffs >out 2>&1 || atf_fail "addwedge: $(cat out)"
	dkctl $m/rvol listwedges >out 2>&1
	wedge=$(sed -n 's/^\(dk[0-9]*\): by-hand,.*/\1/p' out)
	[ -n "$wedge" ] || atf_fail "it is not listed: $(cat out)"
	[ -e "/dev/r$wedge" ] || (cd /dev && sh MAKEDEV "$wedge")
	same data "$(sectors "/dev/r$wedge" 0 4096)" "$(sectors "$r1" 128 4096)"
	same size "$(size_of "/dev/r$wedge")" 2097152
	dkctl "$wedge" getwedgeinfo >out 2>&1 || atf_fail "getwedgeinfo: $(cat out)"
	dkctl $m/rvol addwedge over 4000 4096 ffs >out 2>&1 && atf_fail "over another"
	exec 3<"/dev/r$wedge"
	dkctl $m/rvol delwedge "$wedge" >out 2>&1 && { exec 3<&-; atf_fail "deleted while it is open"; }
	exec 3<&-
	dkctl $m/rvol delwedge "$wedge" >out 2>&1 || atf_fail "delwedge: $(cat out)"
	dm remove vol
	! exists vol || atf_fail "not removed afterwards"
}
