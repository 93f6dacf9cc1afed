#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# tables: what is refused, and what a refusal leaves
. "$(dirname "$0")/dm.subr"

# refused TABLE: it makes no device with a live table. A client that does not hear of the
# refusal leaves one without a table.
refused() {
	load create bad "$1"
	! exists bad || {
		info bad 'Tables present' | grep -q LIVE && atf_fail "taken: $1"
		[ "$DMSETUP" = /sbin/dmsetup ] || atf_fail "a device was left by: $1"
		dm remove bad
	}
}

new_case gaps_and_overlaps
gaps_and_overlaps_body() {
	stamp
	refused "0 1024 linear $b1 0
512 1024 linear $b2 0"
	refused "0 1024 linear $b1 0
2048 1024 linear $b2 0"
	refused "16 1024 linear $b1 0"
	refused "1024 1024 linear $b1 0
0 1024 linear $b2 0"
}

new_case an_overlap_is_read_without_harm
an_overlap_is_read_without_harm_body() {
	stamp
	printf '0 1024 linear %s 0\n512 1024 linear %s 0\n' "$b1" "$b2" >overlap
	dm create ov1 overlap
	[ ! -c $m/rov1 ] || dd if=$m/rov1 of=/dev/null bs=512 2>/dev/null || true
}

new_case lengths_and_ranges
lengths_and_ranges_body() {
	stamp
	refused "0 0 linear $b1 0"
	refused "0 1024 linear $b1 99999999"
	refused "0 99999999 linear $b1 0"
	refused "0 1024 linear $b1 18446744073709551616"
	refused "0 1024 linear $b1 -1"
	refused "0 1024 linear $b1 x"
}

new_case missing_words_of_linear
missing_words_of_linear_body() {
	stamp
	refused "0 1024 linear $b1"
	refused "0 1024 linear"
}

new_case missing_words_of_striped
missing_words_of_striped_body() {
	stamp
	refused "0 4096 striped"
	refused "0 4096 striped 2 64"
}

new_case more_stripes_than_devices
more_stripes_than_devices_body() {
	stamp
	refused "0 4096 striped 2 64 $b1 0"
	refused "0 4096 striped 99 64 $b1 0 $b2 0"
}

new_case no_chunk
no_chunk_body() {
	stamp
	dm create s0 --table "0 4096 striped 2 0 $b1 0 $b2 0"
	[ ! -c $m/rs0 ] || dd if=$m/rs0 of=/dev/null bs=512 count=1 2>/dev/null || true
	! info s0 'Tables present' | grep -q LIVE || atf_fail "taken"
}

new_case no_stripes
no_stripes_body() {
	stamp
	dm create s0 --table "0 4096 striped 0 64 $b1 0"
	[ ! -c $m/rs0 ] || dd if=$m/rs0 of=/dev/null bs=512 count=1 2>/dev/null || true
	! info s0 'Tables present' | grep -q LIVE || atf_fail "taken"
}

new_case more_words_than_needed
more_words_than_needed_body() {
	stamp
	refused "0 4096 striped 2 64 $b1 0 $b2 0 more"
	refused "0 1024 linear $b1 0 more"
}

new_case what_is_no_disk
what_is_no_disk_body() {
	stamp
	dd if=/dev/zero of=/tmp/dm.file bs=64k count=16 2>/dev/null
	refused "0 1024 linear /tmp/dm.file 0"
	refused "0 1024 linear /dev/null 0"
	refused "0 1024 linear /dev/nosuch 0"
	rm -f /tmp/dm.file
}

new_case an_unknown_target
an_unknown_target_body() {
	need_disks
	refused "0 1024 nosuch"
}

new_case a_refused_table_keeps_the_live_one
a_refused_table_keeps_the_live_one_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	load reload l1 "0 512 linear $b2 0
600 512 linear $b2 0"
	dm resume l1
	same data "$(sectors $m/rl1 0 1024)" "$(sectors "$r1" 0 1024)"
}

new_case a_new_table_takes_effect_at_resume
a_new_table_takes_effect_at_resume_body() {
	stamp
	make l1 "0 1024 linear $b1 0"
	dm reload l1 --table "0 2048 linear $b2 64"
	same before "$(sectors $m/rl1 0 1024)" "$(sectors "$r1" 0 1024)"
	dm resume l1
	same after "$(sectors $m/rl1 0 2048)" "$(sectors "$r2" 64 2048)"
	dm reload l1 --table "0 512 linear $b1 0"
	dm clear l1
	dm resume l1
	same cleared "$(sectors $m/rl1 0 2048)" "$(sectors "$r2" 64 2048)"
}
