#!/bin/sh
# A crash dump to a mapped device, and what savecore(8) finds there.
# shellcheck disable=SC1091,SC2015,SC2086,SC2154
. "${0%/*}/boots.subr"

dump_device() {
	[ "$TEST_DM" = ours ] || skip "the stock driver takes no dumps"
	make dump "0 600000 linear $b1 1024
600000 600000 linear $b2 64"
	swapctl -D $m/dump || fail "swapctl -D"
}

before() {
	dump_device
	echo "savecore=NO" >>/etc/rc.conf
	console_must_say 'dump(ing)? .*succeeded'
}

leave() {
	sync
	sysctl -w ddb.onpanic=0
	echo "a mark in the message buffer" >/dev/console
	sysctl -w kern.panic_now=1
}

after() {
	dump_device
	# savecore looks for a node of that number in /dev alone.
	number=$("$DMSETUP" info dump | sed -n 's/^Major, minor: *//p')
	block=${number%,*} minor=${number#*, }
	mknod /dev/dmdump b "$block" "$minor" && mknod /dev/rdmdump c 194 "$minor" || fail mknod
	savecore -v /var/crash || fail savecore
	core=$(echo /var/crash/netbsd.*.core)
	ls -l /var/crash
	[ -f "$core" ] || fail "no core"
	dmesg -M "$core" -N /netbsd | grep 'panic: ' || fail "the core does not tell of the panic"
}

run "$1"
