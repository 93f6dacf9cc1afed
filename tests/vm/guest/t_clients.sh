#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# the clients of a NetBSD system: every command of dmsetup, raidctl, dkctl
. "$(dirname "$0")/dm.subr"

two_devices() {
	stamp
	make l1 "0 1024 linear $b1 0
1024 1024 striped 2 8 $b1 4096 $b2 0"
	make z1 "0 64 zero"
}

says() { # says PATTERN COMMAND...: dmsetup ends well and prints a line like that
	pattern=$1
	shift
	"$DMSETUP" "$@" >said 2>&1 || atf_fail "$*: $(cat said)"
	grep -Eq -e "$pattern" said || atf_fail "$*: not $pattern: $(cat said)"
}

new_case version_targets_and_help
version_targets_and_help_body() {
	need_disks
	says '^Driver version: +4\.[0-9]+\.[0-9]+' version
	for target in linear striped zero error; do says "^$target +v[0-9]" targets; done
	"$DMSETUP" help >said 2>&1 || atf_fail "help: $(cat said)"
	grep -q remove_all said || atf_fail "help: $(cat said)"
}

new_case ls_info_and_deps_show_what_there_is
ls_info_and_deps_show_what_there_is_body() {
	two_devices
	says '^l1' ls
	says '^z1' ls --target zero
	! grep -q l1 said || atf_fail "ls --target: $(cat said)"
	says 'l1' ls --tree
	says 'Tables present: +LIVE' info l1
	says 'Number of targets: +2' info l1
	says 'Event number: +0' info l1
	says '^l1:169:' info -c --noheadings --separator : -o name,major,minor l1
	says '^2 dependencies' deps l1
	says '^0 dependencies|^No dep' deps z1
}

new_case status_and_table_say_what_they_are_asked
status_and_table_say_what_they_are_asked_body() {
	two_devices
	same table "$(table l1 | sed -n 1p | cut -d' ' -f1-3)" "0 1024 linear"
	table l1 | grep -q ' 4096 .* 0$' || atf_fail "the table has no offsets: $(table l1)"
	says '^0 1024 linear *$' status l1
	says '^l1: 0 1024 linear' status
	says '^0 64 zero' status --target zero z1
	# What is written comes back as it was.
	table l1 >first
	make l2 "$(cat first)"
	table l2 >second
	cmp first second || atf_fail "the table that was printed makes another"
}

new_case load_clear_and_resume
load_clear_and_resume_body() {
	two_devices
	load load z1 "0 128 zero"
	says 'LIVE & INACTIVE' info z1
	dm clear z1
	says 'Tables present: +LIVE$' info z1
	load load z1 "0 128 zero"
	dm suspend z1
	says 'State: +SUSPENDED' info z1
	dm resume z1
	says 'State: +ACTIVE' info z1
	same size "$(size_of $m/rz1)" 65536
	dm suspend --noflush z1
	dm resume z1
	same size "$(size_of $m/rz1)" 65536
}

new_case create_takes_its_options
create_takes_its_options_body() {
	stamp
	dm create n1 --notable
	says 'Tables present: +None' info n1
	echo "0 64 zero" | dm create s1
	same "from standard input" "$(table s1 | cut -d' ' -f1-3)" "0 64 zero"
	dm create u1 -u SOME-UUID --table "0 64 zero"
	says 'UUID: +SOME-UUID' info u1
	same "by uuid" "$("$DMSETUP" table -u SOME-UUID | cut -d' ' -f1-3)" "0 64 zero"
	dm remove -u SOME-UUID
	! exists u1 || atf_fail "not removed by its uuid"
}

new_case remove_forces
remove_forces_body() {
	two_devices
	dm remove z1
	! exists z1 || atf_fail "it is still there"
	exec 3<$m/rl1
	dm remove --force l1
	dd bs=512 count=1 <&3 >one 2>/dev/null && {
		exec 3<&-
		atf_fail "who has it open reads on"
	}
	exec 3<&-
	dm mknodes
	dm remove l1
	! exists l1 || atf_fail "not removed when it is closed"
}

new_case wait_ends_with_an_event
wait_ends_with_an_event_body() {
	two_devices
	("$DMSETUP" wait l1 >/dev/null 2>&1; : >over) &
	sleep 2
	[ ! -e over ] || atf_fail "it did not wait"
	dm rename l1 l2
	sleep 3
	[ -e over ] || atf_fail "it waits still"
	wait
}

new_case mknodes_makes_nodes_again
mknodes_makes_nodes_again_body() {
	two_devices
	rm $m/l1 $m/rl1
	dm mknodes l1
	[ -b $m/l1 ] || atf_fail "mknodes of one"
	[ -c $m/rl1 ] || atf_fail "mknodes of one, raw"
	# The stock client makes those of a device that is named, and no others.
	[ "$DMSETUP" = /sbin/dmsetup ] || {
		rm $m/z1
		dm mknodes
		[ -b $m/z1 ] || atf_fail "mknodes of all"
	}
	same data "$(sectors $m/l1 0 1024)" "$(sectors "$r1" 0 1024)"
}

new_case messages_and_geometries
messages_and_geometries_body() {
	two_devices
	"$DMSETUP" message l1 0 hello >said 2>&1
	[ $? -lt 128 ] || atf_fail "message: the client died"
	"$DMSETUP" setgeometry l1 16 64 1 0 >said 2>&1
	[ $? -lt 128 ] || atf_fail "setgeometry: the client died"
	says 'vg0.*lv0' splitname vg0-lv0
	same data "$(sectors $m/rl1 0 1024)" "$(sectors "$r1" 0 1024)"
}

new_case wedge_information
wedge_information_body() {
	two_devices
	dkctl $m/rl1 getwedgeinfo >said 2>&1 || atf_fail "dkctl: $(cat said)"
	grep -q 'l1' said || atf_fail "it names another: $(cat said)"
	grep -q '2048' said || atf_fail "it has another size: $(cat said)"
}

new_case a_mirror_of_raidframe 600
a_mirror_of_raidframe_body() {
	need raidctl
	stamp
	# One with a name that a disk's would not hold.
	half1=half1 half2=half2_of_a_mirror_of_raidframe
	make $half1 "0 65536 linear $b1 0"
	make $half2 "0 65536 linear $b2 0"
	# Whatever lay there must not be taken for labels.
	for half in $half1 $half2; do dd if=/dev/zero of=$m/r$half bs=64k count=2 2>/dev/null; done
	for place in raid0a raid0d; do [ -e /dev/$place ] || (cd /dev && sh MAKEDEV raid0); done
	cat >raid.conf <<-END
		START array
		1 2 0
		START disks
		$m/$half1
		$m/$half2
		START layout
		32 1 1 1
		START queue
		fifo 100
	END
	raidctl -C raid.conf raid0 >said 2>&1 || atf_fail "raidctl -C: $(cat said)"
	raidctl -I 4711 raid0 >said 2>&1 || atf_fail "raidctl -I: $(cat said)"
	# While RAIDframe makes the halves equal it may overwrite what comes meanwhile.
	raidctl -i raid0 >said 2>&1
	until raidctl -p raid0 2>&1 | grep -q "status: clean"; do sleep 1; done
	dd if=/dev/urandom of=data bs=64k count=16 2>/dev/null
	dd if=data of=/dev/rraid0d bs=64k 2>/dev/null || atf_fail "a write"
	same data "$(sectors /dev/rraid0d 0 2048)" "$(sectors data 0 2048)"
	hide $half1
	dm remove $half1
	show $half1
	exists $half1 || atf_fail "removed below RAIDframe"
	raidctl -u raid0 >said 2>&1 || atf_fail "raidctl -u: $(cat said)"
	same "both halves" "$(sectors $m/r$half1 64 2048)" "$(sectors $m/r$half2 64 2048)"
}

tidy_up() {
	raidctl -u raid0 >/dev/null 2>&1 || true
	remove_devices
}
