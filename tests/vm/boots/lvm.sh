#!/bin/sh
# A volume of LVM is mounted when the system starts, by the stock rc.d/lvm.
# shellcheck disable=SC1091,SC2015,SC2086,SC2154
. "${0%/*}/boots.subr"

before() {
	for disk in $r1 $r2; do dd if=/dev/zero of="$disk" bs=64k count=64 2>/dev/null; done
	lvm pvcreate "$r1" "$r2" && lvm vgcreate vg0 "$r1" "$r2" || fail "no group"
	lvm lvcreate -L 64M -i 2 -n lv0 vg0 || fail "no volume"
	newfs /dev/vg0/rlv0 >/dev/null || fail newfs
	mkdir -p /vol && mount /dev/vg0/lv0 /vol || fail mount
	cp -R /bin /vol/
	echo "/dev/vg0/lv0 /vol ffs rw 1 2" >>/etc/fstab
	echo "lvm=YES" >>/etc/rc.conf
}

after() {
	mount | grep '/dev/.*lv0 on /vol' || fail "not mounted: $(mount)"
	diff -r /bin /vol/bin || fail "files differ"
	lvm vgs vg0 || fail "no group"
}

run "$1"
