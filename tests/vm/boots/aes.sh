#!/bin/sh
# A kernel whose AES has other names: the module comes, and crypt does with its own.
# shellcheck disable=SC1091,SC2015,SC2086,SC2154
. "${0%/*}/boots.subr"

renamed=
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f

# Writes zeroes through crypt; prints the digest of what lies below.
zeroes_below() {
	make c1 "0 1024 crypt aes-xts-plain64 $key 0 $b1 0"
	dd if=/dev/zero of=$m/rc1 bs=64k count=8 2>/dev/null || fail "a write"
	dd if=$r1 bs=64k count=8 2>/dev/null | cksum -a sha256
	"$DMSETUP" remove c1
}

before() {
	[ -n "$DM_TOOL" ] || skip "DM_TOOL names no dm-guest"
	dmesg | grep 'dm: AES of the kernel' || skip "this kernel has no AES"
	zeroes_below >"$keep/digest"
	dmesg | grep 'does without the AES' && fail "its AES is refused"
	cp /netbsd "$keep/netbsd"
	for name in aes_setenckey128 rijndaelEncrypt; do
		"$DM_TOOL" rename /netbsd $name && renamed=yes
	done
	[ -n "$renamed" ] || fail "the name of its AES is not found"
	sync
}

after() {
	mv "$keep/netbsd" /netbsd
	modload dm || fail "the module does not come"
	dmesg | grep 'dm: AES of the driver' || fail "it does not say so: $(dmesg | grep dm:)"
	zeroes_below >"$keep/other"
	cmp "$keep/digest" "$keep/other" || fail "what it writes differs"
}

run "$1"
