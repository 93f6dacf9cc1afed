#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# devices: names, states, openers, and who may do what
. "$(dirname "$0")/dm.subr"

new_case suspend_then_resume_keeps_the_table
suspend_then_resume_keeps_the_table_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	dm suspend l1
	info l1 State | grep -q SUSPENDED || atf_fail "not suspended"
	dm resume l1
	info l1 State | grep -q ACTIVE || atf_fail "not resumed"
	dm resume l1
	same data "$(sectors $m/rl1 0 1024)" "$(sectors "$r1" 0 1024)"
}

new_case suspend_holds_requests_back
suspend_holds_requests_back_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	dm suspend l1
	(dd if=$m/rl1 of=read bs=64k count=1 2>/dev/null; : >over) &
	sleep 2
	held=yes
	[ ! -e over ] || held=no
	dm resume l1
	wait
	same held "$held" yes
	same data "$(sectors read 0 128)" "$(sectors "$r1" 0 128)"
}

new_case an_open_device_stays
an_open_device_stays_body() {
	stamp
	make l1 "0 4096 linear $b1 0"
	exec 3<$m/rl1
	dm remove l1
	exists l1 || { exec 3<&-; atf_fail "removed while it is open"; }
	dd bs=512 count=1 <&3 >one 2>/dev/null || atf_fail "a read"
	same opens "$(info l1 'Open count')" 1
	exec 3<&-
	same closed "$(info l1 'Open count')" 0
	dm mknodes l1
	dm remove l1
	! exists l1 || atf_fail "not removed when it is closed"
}

new_case a_mounted_device_stays
a_mounted_device_stays_body() {
	stamp
	make fs1 "0 32768 linear $b1 0"
	newfs $m/rfs1 >/dev/null || atf_fail newfs
	mkdir place
	mount -t ffs $m/fs1 place || atf_fail mount
	dm remove fs1
	cp /bin/sh place/sh || atf_fail "a copy"
	sync
	cmp /bin/sh place/sh || atf_fail "the file system is broken"
	dm mknodes
	umount place || atf_fail umount
	fsck -fn $m/rfs1 >fsck.out || atf_fail "fsck: $(cat fsck.out)"
}

new_case a_name_in_use
a_name_in_use_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	dm create l1 --table "0 512 linear $b2 0"
	same data "$(sectors $m/rl1 0 1024)" "$(sectors "$r1" 0 1024)"
	same devices "$(names)" l1
}

new_case a_uuid_in_use
a_uuid_in_use_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	dm remove l1
	dm create u1 -u TEST-UUID --table "0 1024 linear $b1 0"
	dm create u2 -u TEST-UUID --table "0 512 linear $b2 0"
	same devices "$(names)" u1
	[ ! -b $m/u2 ] || {
		# Whatever was made in its place must lead to no disk.
		! dd if=$m/u2 of=/dev/null count=1 2>/dev/null || atf_fail "a node that is another's"
	}
	same data "$(sectors $m/ru1 0 1024)" "$(sectors "$r1" 0 1024)"
}

new_case renaming
renaming_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	make l2 "0 512 linear $b2 0"
	dm rename l1 l3
	same names "$(names | tr '\n' ' ')" "l2 l3 "
	same data "$(sectors $m/rl3 0 1024)" "$(sectors "$r1" 0 1024)"
	[ ! -e $m/l1 ] || atf_fail "the old node is there"
}

new_case renaming_to_a_name_in_use
renaming_to_a_name_in_use_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	make l2 "0 512 linear $b2 0"
	dm rename l1 l2
	same names "$(names | tr '\n' ' ')" "l1 l2 "
	dm mknodes
	same data "$(sectors $m/rl2 0 512)" "$(sectors "$r2" 0 512)"
}

new_case renaming_to_what_is_no_name
renaming_to_what_is_no_name_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	dm rename l1 x/y || true
	same names "$(names)" l1
}

new_case read_only
read_only_body() {
	stamp
	dm create ro1 -r --table "0 1024 linear $b1 0"
	same data "$(sectors $m/rro1 0 1024)" "$(sectors "$r1" 0 1024)"
	info ro1 State | grep -q READ-ONLY || atf_fail "info does not say so"
	before=$(sectors "$r1" 0 8)
	dd if=/dev/zero of=$m/rro1 bs=512 count=8 2>/dev/null && atf_fail "a write was taken"
	same unchanged "$(sectors "$r1" 0 8)" "$before"
}

new_case a_minor_that_is_asked_for
a_minor_that_is_asked_for_body() {
	stamp
	dm create p1 -j 169 -m 77 --table "0 1024 linear $b1 0"
	same minor "$(info p1 'Major, minor')" "169, 77"
	same data "$(sectors $m/rp1 0 1024)" "$(sectors "$r1" 0 1024)"
}

new_case minors_are_used_again
minors_are_used_again_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	first=$(info l1 'Major, minor')
	dm remove l1
	make l1 "0 1024 linear $b1 0"
	same minor "$(info l1 'Major, minor')" "$first"
}

new_case remove_all_removes_all
remove_all_removes_all_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	make l2 "0 1024 linear $m/l1 0"
	make l3 "0 512 linear $b2 0"
	dm remove_all
	same names "$(names)" ""
}

new_case more_devices_than_fit_a_reply 900
more_devices_than_fit_a_reply_body() {
	need_disks
	nr=0
	while [ $nr -lt 300 ]; do
		nr=$((nr + 1))
		dm create "a_device_with_a_name_that_is_rather_long_$nr" --table "0 8 linear $b1 $nr"
	done
	same count "$(names | wc -l | tr -d ' ')" 300
	same last "$(table a_device_with_a_name_that_is_rather_long_300 | wc -l | tr -d ' ')" 1
}

new_case events_are_counted
events_are_counted_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	before=$(info l1 'Event number')
	dm rename l1 l2
	after=$(info l2 'Event number')
	[ "$after" -gt "$before" ] || atf_fail "$before, then $after"
}

new_case nobody_but_root_changes_things
nobody_but_root_changes_things_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	chmod 666 $m/control
	su -m nobody -c "$DMSETUP remove l1" >/dev/null 2>&1 || true
	su -m nobody -c "$DMSETUP suspend l1" >/dev/null 2>&1 || true
	chmod 600 $m/control
	exists l1 || atf_fail "removed by nobody"
	info l1 State | grep -q ACTIVE || atf_fail "suspended by nobody"
}

new_case what_is_missing_harms_no_client
what_is_missing_harms_no_client_body() {
	need_disks
	for command in info status table deps remove suspend resume clear mknodes; do
		"$DMSETUP" $command nosuch >out 2>&1
		[ $? -lt 128 ] || atf_fail "$command: the client died"
	done
	"$DMSETUP" rename nosuch other >out 2>&1
	[ $? -lt 128 ] || atf_fail "rename: the client died"
	same names "$(names)" ""
}

new_case memory_comes_back 600
memory_comes_back_body() {
	stamp
	cycle() {
		nr=0
		while [ $nr -lt "$1" ]; do
			nr=$((nr + 1))
			dm create l1 --table "0 1024 linear $b1 0"
			"$DMSETUP" deps l1 >/dev/null 2>&1
			"$DMSETUP" status l1 >/dev/null 2>&1
			"$DMSETUP" deps nosuch >/dev/null 2>&1
			"$DMSETUP" status nosuch >/dev/null 2>&1
			dd if=$m/rl1 of=/dev/null bs=64k 2>/dev/null
			dm remove l1
		done
	}
	in_use() { vmstat -m | awk '$1 ~ /^(prop|dm)/ { n += $3 - $5 } END { print n + 0 }'; }
	cycle 5
	before=$(in_use)
	cycle 40
	after=$(in_use)
	[ $((after - before)) -lt 30 ] || atf_fail "$before objects, then $after"
}
