#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# the module: it comes, stays while it is used, and goes
. "$(dirname "$0")/dm.subr"

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
