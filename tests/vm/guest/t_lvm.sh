#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# the logical volume manager, unmodified
. "$(dirname "$0")/dm.subr"

lvm_() { lvm "$@" >lvm.out 2>lvm.err || atf_fail "lvm $*: $(cat lvm.err)"; }

tidy_up() {
	umount -f /mnt 2>/dev/null
	lvm vgchange -an vg0 >/dev/null 2>&1
	lvm vgremove -ff vg0 >/dev/null 2>&1
	lvm pvremove -ff "$r1" "$r2" >/dev/null 2>&1
	remove_devices
	rm -rf /dev/vg0
}

new_group() {
	need lvm
	need_disks
	for disk in "$r1" "$r2"; do dd if=/dev/zero of="$disk" bs=64k count=64 2>/dev/null; done
	lvm_ pvcreate "$r1"
	lvm_ pvcreate "$r2"
	lvm_ vgcreate vg0 "$r1" "$r2"
}

new_case a_volume_is_made_used_grown_and_removed 900
a_volume_is_made_used_grown_and_removed_body() {
	new_group
	lvm_ lvcreate -L 64M -n lv0 vg0
	newfs /dev/vg0/rlv0 >/dev/null || atf_fail newfs
	mount -t ffs /dev/vg0/lv0 /mnt || atf_fail mount
	cp -R /bin /mnt/ || atf_fail copying
	# Grown while it is mounted; the file system follows when it is not.
	lvm_ lvextend -L +64M /dev/vg0/lv0
	diff -r /bin /mnt/bin || atf_fail "files differ while it is mounted"
	umount /mnt || atf_fail umount
	resize_ffs -y /dev/vg0/rlv0 >out 2>&1 || atf_fail "resize_ffs: $(cat out)"
	fsck_ffs -fn /dev/vg0/rlv0 >out 2>&1 || atf_fail "fsck: $(cat out)"
	mount -t ffs /dev/vg0/lv0 /mnt || atf_fail "mount again"
	diff -r /bin /mnt/bin || atf_fail "files differ"
	lvm lvremove -f vg0/lv0 >out 2>&1 && atf_fail "removed while it is mounted"
	umount /mnt || atf_fail "umount again"
	lvm_ lvremove -f vg0/lv0
	same volumes "$(names)" ""
}

new_case striped_volumes_and_volumes_of_two_disks 900
striped_volumes_and_volumes_of_two_disks_body() {
	new_group
	lvm_ lvcreate -i 2 -I 64 -L 32M -n str vg0
	"$DMSETUP" table vg0-str | grep -q 'striped 2 128' || atf_fail "it is not striped"
	lvm_ lvcreate -l 60%FREE -n big vg0
	dd if=/dev/urandom of=data bs=64k count=64 2>/dev/null
	for volume in str big; do
		dd if=data of=/dev/vg0/r$volume bs=64k 2>/dev/null || atf_fail "writing $volume"
	done
	for volume in str big; do
		same $volume "$(dd if=/dev/vg0/r$volume bs=64k count=64 2>/dev/null | cksum -a sha1)" \
			"$(cksum -a sha1 <data)"
	done
	lvm_ lvrename vg0 big large
	same renamed "$(dd if=/dev/vg0/rlarge bs=64k count=64 2>/dev/null | cksum -a sha1)" \
		"$(cksum -a sha1 <data)"
	lvm_ lvreduce -f -L 16M vg0/large
	same reduced "$(size_of /dev/vg0/rlarge)" 16777216
}

new_case a_group_goes_and_comes_back 900
a_group_goes_and_comes_back_body() {
	new_group
	lvm_ lvcreate -L 32M -n lv0 vg0
	dd if=/dev/urandom of=data bs=64k count=64 2>/dev/null
	dd if=data of=/dev/vg0/rlv0 bs=64k 2>/dev/null
	lvm_ vgchange -an vg0
	same gone "$(names)" ""
	lvm_ vgscan --mknodes --ignorelockingfailure
	lvm_ vgchange -ay vg0
	same data "$(dd if=/dev/vg0/rlv0 bs=64k count=64 2>/dev/null | cksum -a sha1)" \
		"$(cksum -a sha1 <data)"
}

# used NAME: what of a volume's disk is used.
used() { lvm pvs --noheadings --units m -o pv_used "$1" 2>/dev/null | tr -d ' '; }

new_case a_volume_is_moved_in_use 900
a_volume_is_moved_in_use_body() {
	need_disks
	"$DMSETUP" targets 2>/dev/null | grep -q '^mirror ' || atf_skip "there is no target mirror"
	# Else lvm takes partition "a" of a disk, which is the whole of it too, for another one.
	mkdir lvm
	LVM_SYSTEM_DIR=$(pwd)/lvm
	export LVM_SYSTEM_DIR
	echo "devices { filter = [ \"a|$r1|\", \"a|$r2|\", \"r|.*|\" ] }" >lvm/lvm.conf
	new_group
	lvm_ lvcreate -L 32M -n lv0 vg0 "$r1"
	newfs /dev/vg0/rlv0 >/dev/null || atf_fail newfs
	mount -t ffs /dev/vg0/lv0 /mnt || atf_fail mount
	cp -R /bin /mnt/ || atf_fail copying
	lvm_ pvmove -i 1 "$r1" "$r2"
	diff -r /bin /mnt/bin || atf_fail "files differ while it is mounted"
	umount /mnt || atf_fail umount
	fsck_ffs -fn /dev/vg0/rlv0 >out 2>&1 || atf_fail "fsck: $(cat out)"
	same "used of the first" "$(used "$r1")" 0m
	same "used of the second" "$(used "$r2")" 32.00m
	same devices "$(names)" vg0-lv0
	mount -t ffs /dev/vg0/lv0 /mnt || atf_fail "mount again"
	diff -r /bin /mnt/bin || atf_fail "files differ"
	umount /mnt
}
