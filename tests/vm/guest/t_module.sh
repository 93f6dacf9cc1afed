#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# the module: it comes, stays while it is used, and goes
. "$(dirname "$0")/dm.subr"

tidy_up() {
	: >over
	remove_devices
	[ ! -e scarce ] || { modunload dm; modload dm; } >/dev/null 2>&1
	vnconfig -u vnd0 >/dev/null 2>&1
	mount | awk '/^tmpfs .*memory/ { print $3 }' | while read -r place; do umount "$place"; done
}

loaded() { modstat | awk '{ print $1 }' | grep -qx dm; }

need_module() {
	need_disks
	loaded || atf_skip "dm is in the kernel"
}

new_case it_goes_when_idle_and_comes_again 300
it_goes_when_idle_and_comes_again_body() {
	need_module
	for round in 1 2 3 4 5; do
		loaded || modload dm || atf_fail "round $round: modload"
		make l1 "0 1024 linear $b1 0"
		dd if=$m/rl1 of=/dev/null bs=64k 2>/dev/null || atf_fail "round $round: a read"
		dm remove l1
		modunload dm || atf_fail "round $round: modunload"
		! loaded || atf_fail "round $round: still there"
	done
	modload dm
}

new_case it_stays_while_there_are_devices
it_stays_while_there_are_devices_body() {
	need_module
	make l1 "0 1024 linear $b1 0"
	modunload dm 2>/dev/null && atf_fail "unloaded with a device"
	dd if=$m/rl1 of=/dev/null bs=64k 2>/dev/null || atf_fail "a read"
}

new_case it_stays_while_its_control_node_is_open
it_stays_while_its_control_node_is_open_body() {
	need_module
	names >/dev/null
	exec 3<$m/control
	modunload dm 2>/dev/null && { exec 3<&-; atf_fail "unloaded while it is open"; }
	exec 3<&-
	modunload dm || atf_fail "not unloaded when it is closed"
	modload dm
}

new_case it_is_unloaded_against_new_devices 300
it_is_unloaded_against_new_devices_body() {
	need_module
	(nr=0; while [ $nr -lt 40 ]; do
		nr=$((nr + 1))
		dm create l1 --table "0 1024 linear $b1 0"
		dm remove l1
	done; : >over) &
	while [ ! -e over ]; do
		modunload dm 2>/dev/null || true
		modload dm 2>/dev/null || true
	done
	wait
	loaded || modload dm
	make l1 "0 1024 linear $b1 0"
}

# Requests wait for memory all the time, and most begin where another ends, in a soft interrupt:
# there the strategy of vnd(4) must not be called, which sleeps when it has 32 requests.
new_case it_works_with_hardly_any_memory 600
it_works_with_hardly_any_memory_body() {
	need_tool
	need_module
	need vnconfig
	module=${DM_TOOL%/*}/dm-scarce.kmod
	[ -f "$module" ] || atf_skip "there is no $module"
	mkdir memory
	mount -t tmpfs tmpfs memory || atf_skip "this kernel has no tmpfs"
	dd if=/dev/zero of=memory/image bs=64k count=128 2>/dev/null
	vnconfig vnd0 "$(pwd)/memory/image" || atf_skip "there is no vnd(4)"
	: >scarce
	modunload dm || atf_fail "modunload"
	modload "$module" || atf_fail "modload"
	lines=$(for nr in $(jot 256 0); do
		at=$((nr * 16))
		echo "$at 8 linear $b1 $at"
		echo "$((at + 8)) 8 linear /dev/vnd0d $at"
	done)
	make parts "$lines"
	make two "0 8192 striped 2 8 $m/parts 0 $b2 0"
	make low "0 8192 striped 2 8 $b1 8192 /dev/vnd0d 8192"
	make top "0 4096 linear $m/low 0
4096 4096 linear $m/low 4096"
	for name in two top; do
		("$DM_TOOL" stomp $m/r$name 40 8 7 >stomped.$name 2>&1 || echo bad >>stomped.$name) &
	done
	# So that the file's disk has all the requests that it takes.
	for _ in $(jot 40); do
		while [ ! -e over ]; do dd if=/dev/rvnd0d of=/dev/null bs=2k count=100 2>/dev/null; done &
	done
	sleep 15
	# With requests waiting, as long as they are held.
	for round in $(jot 5); do
		for name in two top; do
			dm suspend $name
			dm resume $name
		done
		sleep 2
	done
	sleep 15
	: >over
	wait
	! grep -q '^bad' stomped.* || atf_fail "$(cat stomped.*)"
	grep -q . stomped.two || atf_fail "no requests"
	remove_devices
	same names "$(names)" ""
	modunload dm || atf_fail "modunload of the one with little memory"
}
