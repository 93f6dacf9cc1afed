#!/bin/sh
# The root file system on a mapped device, by way of init's root: what the kernel mounts first
# only makes the device.
# shellcheck disable=SC1091,SC2015,SC2086,SC2154
. "${0%/*}/boots.subr"

before() {
	make system "0 600000 linear $b1 1024
600000 599808 striped 2 128 $b1 601088 $b2 0"
	newfs $m/rsystem >/dev/null || fail newfs
	mkdir -p /altroot && mount $m/system /altroot || fail mount
	(cd / && pax -rw -pe bin sbin lib libexec dev etc root stand var usr/bin usr/sbin \
		usr/libexec usr/lib/security usr/lib/*.so* /altroot) || fail "copying the system"
	(cd /altroot && mkdir -p tmp kern proc mnt usr/share/misc)
	echo "$m/system / ffs rw 1 1" >/altroot/etc/fstab
	umount /altroot
	cp "$keep/table.system" /etc/system.table
	cat >/etc/rc <<-END
		PATH=/sbin:/usr/sbin:/bin:/usr/bin
		export PATH
		mount -u -o rw /
		modload dm
		dmsetup create system /etc/system.table
		mount -r $m/system /altroot || exit 2
		sysctl -w init.root=/altroot
	END
}

after() {
	mount | grep "$m/system on / " || fail "the root is another: $(mount)"
	[ -f /etc/system.table ] && fail "this is the first file system"
	dd if=/dev/urandom of=/var/data bs=64k count=64 || fail "a write"
	sync
	"$DMSETUP" table system | grep striped || fail "no such table"
}

run "$1"
