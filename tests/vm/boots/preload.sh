#!/bin/sh
# The boot loader loads the module; it is used, and goes when it is idle, and comes again.
# shellcheck disable=SC1091,SC2015,SC2086,SC2154
. "${0%/*}/boots.subr"

module=/stand/amd64/$(uname -r)/modules/dm/dm.kmod

before() {
	[ -f "$module" ] || skip "there is no module"
	echo "load=$module" >>/boot.cfg
}

after() {
	modstat | grep '^dm .* boot ' || fail "the boot loader did not load it: $(modstat)"
	make l1 "0 1024 linear $b1 0"
	dd if=$m/rl1 of=/dev/null bs=64k || fail "a read"
	modunload dm && fail "it went while there is a device"
	"$DMSETUP" remove l1
	modunload dm || fail "it does not go"
	modload dm || fail "it does not come again"
	make l1 "0 1024 linear $b1 0"
	dd if=$m/rl1 of=/dev/null bs=64k || fail "a read afterwards"
	"$DMSETUP" remove l1
}

run "$1"
