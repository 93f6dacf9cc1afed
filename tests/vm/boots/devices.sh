#!/bin/sh
# The devices of /etc/dm.conf are made when the system starts, by our rc.d/dm.
# shellcheck disable=SC1091,SC2015,SC2086,SC2154
. "${0%/*}/boots.subr"

before() {
	[ "$TEST_DM" = ours ] || skip "this is our script"
	make vol "0 65536 linear $b1 64
65536 65536 striped 2 128 $b1 131072 $b2 0"
	newfs $m/rvol >/dev/null || fail newfs
	mkdir -p /vol && mount $m/vol /vol || fail mount
	cp -R /bin /vol/
	# The stock dmsetup has no concise form.
	cp /tmp/dm/dmsetup /sbin/dmsetup.ours
	/sbin/dmsetup.ours table --concise vol >/etc/dm.conf || fail "no concise table"
	install -m 555 /tmp/dm/rc.dm /etc/rc.d/dm
	echo "dm=YES dm_dmsetup=/sbin/dmsetup.ours" >>/etc/rc.conf
	echo "$m/vol /vol ffs rw 1 2" >>/etc/fstab
}

after() {
	mount | grep "$m/vol on /vol" || fail "not mounted: $(mount)"
	diff -r /bin /vol/bin || fail "files differ"
	/etc/rc.d/dm stop
	"$DMSETUP" table vol | grep linear || fail "what is mounted went"
}

run "$1"
