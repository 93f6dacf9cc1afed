#!/bin/sh
# A panic of the driver is the kernel's: told with its place, and the system starts again.
# shellcheck disable=SC1091,SC2015,SC2086,SC2154
. "${0%/*}/boots.subr"

before() {
	[ -f /tmp/dm/dm-drill.kmod ] || skip "there is no module made for it"
	modunload dm || fail "the module does not go"
	# What goes before: how deep ciphers go on the stack, which is overwritten behind them.
	console_must_say 'dm: no cipher goes deeper than is overwritten'
	console_must_say 'dm: panicked at .*drill.rs:[0-9]+'
	console_must_say 'a drill'
	console_must_say 'rebooting'
}

leave() {
	sync
	sysctl -w ddb.onpanic=0
	modload /tmp/dm/dm-drill.kmod
}

after() {
	modload dm || fail modload
	make l1 "0 1024 linear $b1 0"
	"$DMSETUP" remove l1
}

run "$1"
