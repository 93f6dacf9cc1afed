#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# targets that hold something: they keep data, in use, and while what lies below fails
. "$(dirname "$0")/dm.subr"

half=65536 # sectors
key32=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
key64=${key32}f0e0d0c0b0a090807060504030201000102030405060708090a0b0c0d0e0f0ab

need_target() {
	need_disks
	"$DMSETUP" targets 2>/dev/null | grep -q "^$1 " || atf_skip "there is no target $1"
}

# make NAME TABLE: as in dm.subr, and it has a table.
make() {
	load create "$1" "$2"
	[ -c "$m/r$1" ] || atf_fail "no device $1 was made: $(cat dm.err)"
	[ -n "$(table "$1")" ] || atf_fail "$1 has no table: $(cat dm.err)"
}

# A message. The stock client sends none, so ours does, which lies beside dm-guest.
say() {
	ours=${DM_TOOL%/*}/dmsetup
	[ -x "$ours" ] || atf_skip "$ours, which sends messages, is not there"
	"$ours" message "$@" >dm.out 2>dm.err || atf_fail "message $*: $(cat dm.err)"
}

# swap NAME TABLE [suspend's option]: another table comes into use.
swap() {
	load reload "$1" "$2" || atf_fail "reload $1: $(cat dm.err)"
	dm suspend $3 "$1"
	dm resume "$1" || atf_fail "resume $1: $(cat dm.err)"
}

# until_so SECONDS WHAT COMMAND...: waits until it is so.
until_so() {
	left=$1 what=$2
	shift 2
	until "$@"; do
		left=$((left - 1))
		[ $left -gt 0 ] || atf_fail "$what: $("$DMSETUP" status 2>&1)"
		sleep 1
	done
}

status_has() { "$DMSETUP" status "$1" 2>/dev/null | grep -q -- "$2"; }

# busy PLACE: files are written and removed, until the file "over" is there.
busy() {
	round=0
	while [ ! -e over ]; do
		round=$((round + 1))
		mkdir -p "$1/busy$((round % 3))"
		cp /bin/cat /bin/ls /sbin/newfs "$1/busy$((round % 3))/" || break
		[ $((round % 3)) -ne 0 ] || rm -rf "$1/busy1" "$1/busy2"
	done
}

check_files() { # check_files RAW: fsck finds nothing
	fsck -fn "$1" >out 2>&1 || atf_fail "fsck $1: $(cat out)"
	! grep -E 'SALVAGE|FIX\?|CORRECT|UNREF|BAD' out || atf_fail "fsck $1: $(cat out)"
}

stomp() { # stomp NAME SECONDS [errors]: every byte checked, in the background
	"$DM_TOOL" stomp "$m/r$1" "$2" 2 7 $3 >"stomp.$1" 2>&1 || echo bad >>"stomp.$1"
}

stomped() { # stomped NAME
	! grep -q '^bad' "stomp.$1" || atf_fail "$1: $(cat "stomp.$1")"
}

new_case file_system_on_crypt_over_a_mirror 600
file_system_on_crypt_over_a_mirror_body() {
	need_target crypt
	stamp
	make mir "0 $half mirror core 2 1024 sync 2 $b1 0 $b2 0 1 handle_errors"
	make vol "0 $half crypt aes-xts-plain64 $key64 0 $m/mir 0"
	newfs -O2 $m/rvol >/dev/null || atf_fail newfs
	mkdir place
	mount -t ffs -o log $m/vol place || mount -t ffs $m/vol place || atf_fail mount
	cp -R /bin /etc place/ || atf_fail "a copy"
	(busy place) &
	until_so 200 "the legs are not equal" status_has mir " 64/64 "
	sleep 3
	: >over
	wait
	diff -r /bin place/bin || atf_fail "files differ"
	umount place || atf_fail umount
	check_files $m/rvol
	# Both legs hold it, and neither shows what it is.
	dm remove vol
	dm remove mir
	same "the legs" "$(sectors $r1 0 $half)" "$(sectors $r2 0 $half)"
	dd if=$r1 bs=64k count=512 2>/dev/null | grep -q '^root:.*:0:0:' && atf_fail "it can be read"
	make vol "0 $half crypt aes-xts-plain64 $key64 0 $b2 0"
	mount -t ffs -o rdonly $m/vol place || atf_fail "mount of a leg"
	diff -r /bin place/bin || atf_fail "files on a leg differ"
	umount place
}

new_case keys_are_not_shown
keys_are_not_shown_body() {
	need_target crypt
	make vol "0 1024 crypt aes-cbc-essiv:sha256 $key32 0 $b1 0"
	"$DMSETUP" table vol >out 2>&1
	grep -q "aes-cbc-essiv:sha256 0*[ $]" out || atf_fail "no table: $(cat out)"
	! grep -q "$key32" out || atf_fail "the key is shown"
	dmesg | grep -q "$key32" && atf_fail "the key is in the kernel's messages"
	"$DMSETUP" table --showkeys vol >out 2>&1 || atf_skip "this dmsetup shows no keys"
	grep -q "$key32" out || atf_fail "not shown to who may see it: $(cat out)"
}

new_case every_cipher_keeps_data 300
every_cipher_keeps_data_body() {
	need_target crypt
	stamp
	before=$(sectors $r1 0 2048)
	for cipher in aes-cbc-plain64 aes-cbc-essiv:sha256 serpent-xts-plain64 twofish-cbc-plain64 \
		camellia-xts-plain64 aes-xts-benbi 'capi:xts(aes)-plain64'; do
		key=$key32
		case $cipher in *xts*) key=$key64 ;; esac
		make c1 "0 2048 crypt $cipher $key 0 $b2 0"
		dd if=$r1 of=$m/rc1 bs=64k count=16 2>/dev/null
		same "$cipher" "$(sectors $m/rc1 0 2048)" "$before"
		[ "$(sectors $r2 0 2048)" != "$before" ] || atf_fail "$cipher: not encrypted"
		dm remove c1
	done
}

# Linux's digests of 512 sectors, whose lines are all the same; a key is the bytes 0, 1, 2...
new_case what_crypt_writes_is_what_linux_writes 300
what_crypt_writes_is_what_linux_writes_body() {
	need_target crypt
	stamp
	awk 'BEGIN { for (nr = 0; nr < 512; nr++) for (line = 0; line < 32; line++)
		printf "03:%012x\n", nr }' >plain
	while read -r cipher bytes offset options digest; do
		key=$(awk -v n="$bytes" 'BEGIN { for (nr = 0; nr < n; nr++) printf "%02x", nr }')
		options=$(echo "$options" | tr ',-' '  ')
		make c1 "0 512 crypt $cipher $key $offset $b1 0 $options"
		dd if=plain of=$m/rc1 bs=32k 2>/dev/null || atf_fail "$cipher: a write"
		same "$cipher $bytes $options" "$(dd if=$r1 bs=64k count=4 2>/dev/null | cksum -a sha256)" "$digest"
		dd if=$m/rc1 bs=16k 2>/dev/null | cmp - plain || atf_fail "$cipher: read back"
		dm remove c1
	done <<-'END'
		aes-ecb 16 0 - 97e18b4b5328225864f0988813c067330798ebe8242bf757a9e7c1ef1da48552
		aes-cbc-plain64 16 0 - 327720ba0a87f52ef91be1fe6550559d33d7783ca4671173e8954fbb59a2ec97
		aes-cbc-plain64 24 0 - 4df907396330848a7214f8c8aa9be4838d73458310bcdc5ab2cd010fe168f80d
		aes-cbc-plain64 32 0 - c849cccc53148fe2e35acfbcd040ccb850cf200ac609bf04bc0dccc6044bf013
		aes-xts-plain64 32 0 - 90d8dd68b1174e4f1cb82c494aebf8f337832b4bf6a09fca2f6bc79a1b0579d1
		aes-xts-plain64 48 0 - 184fc8c43005348ff3303a7a0b204a33b8529ad6046bd2e059a5089b6611b200
		aes-xts-plain64 64 0 - 83a06c410e55571c30064de1d4a4c988bb23a95b943f79c6817d3a40ba3ecd63
		aes-cbc-plain64 32 7 - 86f30cf8e0b4e4b2d195e1e13df7ca120315ad7ea71dfc59f92d2f00e1711d8a
		aes-cbc-essiv:sha256 32 0 - aff6cc08227e5aefbb5460928956e1bab3ce38d40c1647e72781e069da6ecf85
		aes-cbc-essiv:sha256 16 0 - 21298767e1fa8bd4d1ad0161e5c96c5c481c4829bafacd0474185222e45f9df4
		aes-cbc-eboiv 32 0 - 02b6436f7dd43479c9a16db9b5e99f1770d95056b1d902151e6511884b310f4b
		aes-cbc-eboiv 32 1250999896491 - 1bf463ca22f189c0eedc3324c2a1595fe9caf6632ac260617b37d239966b1bef
		aes-cbc-plain64be 32 0 - 42f556da04efacd07b64362eda65f46088d1fb4d20cc2556ce87e3da94d3deb3
		aes-cbc-plain64 32 16 1,sector_size:4096 58bd8d19a1ddb86f7cb3242b6ad7d3272fb6f65a05f8514e01927c31ca7d2b97
		aes-cbc-essiv:sha256 32 16 2,sector_size:4096,iv_large_sectors 7edf1b8cd8e73786efe03aa5cb7344dfaf7901f85fff93e2932b7b1c2e23d6f7
		aes-xts-plain64 64 16 2,sector_size:4096,iv_large_sectors 3b062dae9201a0b1c86b559178d660666851ce74f42a7595630cae934c9a65e0
		aes:2-cbc-plain64 64 0 - 65fe7877413610d4f2dbd0aad920cedc3ab914f103c0c51ef979b08c70abb534
	END
	! dmesg | grep "does without the AES" || atf_fail "the kernel's AES is refused"
}

# A volume that snapshots can be taken of: 32 MB, mounted at "place", and in use.
busy_volume() {
	make base "0 $half linear $b1 0"
	make vol "0 $half snapshot-origin $m/base"
	newfs -O2 $m/rvol >/dev/null || atf_fail newfs
	mkdir place
	mount -t ffs -o log $m/vol place || atf_skip "this kernel has no WAPBL"
	mkdir place/kept
	cp -R /bin /etc place/kept/ || atf_fail "a copy"
	sync
	(busy place) &
	sleep 3
}

take_snapshot() {
	dd if=/dev/zero of=$r2 bs=64k count=1 2>/dev/null
	load create snap "0 $half snapshot $m/base $b2 P 16"
	# What the origin holds at this moment is the snapshot.
	dm suspend vol
	dm suspend snap
	dm resume snap
	dm resume vol
	[ -c $m/rsnap ] || atf_fail "no snapshot: $(cat dm.err)"
}

new_case snapshot_of_a_busy_file_system 900
snapshot_of_a_busy_file_system_body() {
	need_target snapshot
	stamp
	busy_volume
	take_snapshot
	sleep 5
	# Mounting it replays the journal, as after a power cut.
	mkdir once
	mount -t ffs -o log $m/snap once || atf_fail "mount of the snapshot"
	diff -r /bin once/kept/bin || atf_fail "files of the snapshot differ"
	umount once || atf_fail "umount of the snapshot"
	check_files $m/rsnap
	wanted=$(sectors $m/rsnap 0 $half)
	rm -rf place/kept || atf_fail "removing"
	dd if=/dev/urandom of=place/other bs=64k count=20 2>/dev/null
	sleep 2
	: >over
	wait
	umount place || atf_fail umount
	check_files $m/rvol
	same "the snapshot" "$(sectors $m/rsnap 0 $half)" "$wanted"
	# Back: the volume becomes the snapshot, while it is mounted.
	load reload vol "0 $half snapshot-merge $m/base $b2 P 16"
	dm suspend vol
	dm suspend snap
	dm resume vol || atf_fail "resume: $(cat dm.err)"
	same "the merging volume" "$(sectors $m/rvol 0 $half)" "$wanted"
	mount -t ffs -o rdonly $m/vol place || atf_fail "mount of the merging volume"
	diff -r /bin place/kept/bin || atf_fail "files of the merging volume differ"
	until_so 300 "not merged" merged
	diff -r /bin place/kept/bin || atf_fail "files of the merged volume differ"
	umount place
	swap vol "0 $half linear $m/base 0"
	dm remove snap
	same "the merged volume" "$(sectors $m/rbase 0 $half)" "$wanted"
	check_files $m/rvol
}

merged() { "$DMSETUP" status vol | awk '{ split($4, used, "/"); exit used[1] != $5 }'; }

new_case snapshot_without_room_leaves_its_origin_alone 300
snapshot_without_room_leaves_its_origin_alone_body() {
	need_target snapshot
	stamp
	make base "0 8192 linear $b1 0"
	make cow "0 512 linear $b2 16384"
	dd if=/dev/zero of=$m/rcow bs=64k 2>/dev/null
	make snap "0 8192 snapshot $m/base $m/cow P 8"
	make vol "0 8192 snapshot-origin $m/base"
	dd if=$r2 of=$m/rvol bs=64k count=64 2>err || atf_fail "the origin: $(cat err)"
	status_has snap Invalid || atf_fail "status: $("$DMSETUP" status snap)"
	dd if=$m/rsnap of=/dev/null bs=4k count=1 2>/dev/null && atf_fail "it can still be read"
	same "the origin" "$(sectors $m/rvol 0 8192)" "$(sectors $r2 0 8192)"
}

new_case mirror_whose_leg_fails 300
mirror_whose_leg_fails_body() {
	need_tool
	need_target mirror
	make leg1 "0 16384 linear $b1 0"
	make leg2 "0 16384 linear $b2 0"
	make vol "0 16384 mirror core 2 128 nosync 2 $m/leg1 0 $m/leg2 0 2 handle_errors keep_log"
	stomp vol 30 &
	sleep 5
	swap leg2 "0 16384 error"
	until_so 20 "no leg is lost" status_has vol " 1 A[DFS] "
	sleep 5
	swap leg2 "0 16384 linear $b2 0"
	dm suspend vol
	dm resume vol
	until_so 60 "not brought up to date" status_has vol " 128/128 "
	wait
	stomped vol
	until_so 60 "not equal in the end" status_has vol " 128/128 "
	dm remove vol
	same "the legs" "$(sectors $r1 0 16384)" "$(sectors $r2 0 16384)"
}

new_case reads_that_fail_in_an_interrupt_go_to_another_leg
reads_that_fail_in_an_interrupt_go_to_another_leg_body() {
	need_target mirror
	[ -n "${DM_SOUR:-}" ] || atf_skip "DM_SOUR names no disk with a bad sector"
	stamp
	wanted=$(sectors "$r1" "$DM_SOUR_SECTOR" 1)
	for round in 1 2 3; do
		make vol "0 8192 mirror core 2 128 nosync 2 /dev/$DM_SOUR 0 $b1 0 1 handle_errors"
		dm suspend vol
		for reader in $(jot 40); do
			sectors $m/rvol "$DM_SOUR_SECTOR" 1 >"read.$reader" &
		done
		sleep 3
		dm resume vol
		wait
		for reader in $(jot 40); do
			same "reader $reader of round $round" "$(cat "read.$reader")" "$wanted"
		done
		status_has vol ' 1 RA ' || atf_fail "$("$DMSETUP" status vol)"
		dm remove vol
		! exists vol || atf_fail "not removed"
	done
}

new_case raid1_that_loses_a_member 300
raid1_that_loses_a_member_body() {
	need_tool
	need_target raid
	for nr in 1 2; do
		eval "disk=\$b$nr raw=\$r$nr"
		dd if=/dev/zero of=$raw bs=64k count=16 2>/dev/null
		make meta$nr "0 1024 linear $disk 0"
		make data$nr "0 16384 linear $disk 1024"
	done
	make spare_m "0 1024 linear $b2 65536"
	make spare "0 16384 linear $b2 66560"
	make vol "0 16384 raid raid1 3 0 region_size 128 2 $m/meta1 $m/data1 $m/meta2 $m/data2"
	stomp vol 40 &
	until_so 60 "not equal" status_has vol " AA 16384/16384 "
	swap data2 "0 16384 error"
	until_so 30 "no member is lost" status_has vol " AD "
	# Another takes its place.
	dd if=/dev/zero of=$m/rspare_m bs=64k count=1 2>/dev/null
	swap vol "0 16384 raid raid1 5 0 rebuild 1 region_size 128 2 \
$m/meta1 $m/data1 $m/spare_m $m/spare"
	until_so 90 "not rebuilt" status_has vol " AA 16384/16384 idle"
	wait
	stomped vol
	say vol 0 check
	until_so 60 "not compared" status_has vol " AA 16384/16384 idle 0 "
	dm remove vol
	same "the members" "$(sectors $m/rdata1 0 16384)" "$(sectors $m/rspare 0 16384)"
}

new_case raid10_and_raid0_keep_data 300
raid10_and_raid0_keep_data_body() {
	need_target raid
	stamp
	wanted=$(sectors $r1 0 2048)
	for nr in 1 2; do make p$nr "0 2048 linear $b2 $((nr * 4096))"; done
	for type in "raid0 1 64" "raid10 5 64 raid10_copies 2 region_size 128"; do
		make vol "0 2048 raid $type 2 - $m/p1 - $m/p2"
		dd if=$r1 of=$m/rvol bs=64k count=16 2>/dev/null
		same "$type" "$(sectors $m/rvol 0 2048)" "$wanted"
		dm remove vol
	done
}

new_case multipath_fails_over 300
multipath_fails_over_body() {
	need_tool
	need_target multipath
	good="0 16384 linear $b1 0" bad="0 16384 error"
	make one "$good"
	make two "$good"
	# No error reaches the caller while one path lives.
	make vol "0 16384 multipath 0 0 2 1 round-robin 0 1 1 $m/one 1 round-robin 0 1 1 $m/two 1"
	stomp vol 30 &
	for round in 1 2 3 4; do
		for path in one two; do
			swap $path "$bad"
			until_so 20 "$path has not failed" status_has vol " F "
			swap $path "$good"
			dev=$("$DMSETUP" info $path | sed -n 's/^Major, minor: *\([0-9]*\), *\([0-9]*\)/\1:\2/p')
			say vol 0 reinstate_path "$dev"
		done
	done
	wait
	stomped vol
}

new_case multipath_waits_for_a_path
multipath_waits_for_a_path_body() {
	need_target multipath
	make one "0 2048 linear $b1 0"
	make vol "0 2048 multipath 1 queue_if_no_path 0 1 1 queue-length 0 1 1 $m/one 1"
	dev=$("$DMSETUP" info one | sed -n 's/^Major, minor: *\([0-9]*\), *\([0-9]*\)/\1:\2/p')
	say vol 0 fail_path "$dev"
	(dd if=$m/rvol of=/dev/null bs=64k count=1 2>/dev/null && : >was_read) &
	sleep 2
	[ ! -e was_read ] || atf_fail "it was read without a path"
	say vol 0 reinstate_path "$dev"
	wait
	[ -e was_read ] || atf_fail "the read failed"
}

new_case delay_takes_its_time
delay_takes_its_time_body() {
	need_target delay
	stamp
	make vol "0 2048 delay $b1 0 100"
	begun=$(date +%s)
	dd if=$m/rvol of=copy bs=32k count=30 2>/dev/null || atf_fail "a read"
	took=$(($(date +%s) - begun))
	[ $took -ge 2 ] || atf_fail "30 reads of 100 ms took $took s"
	same "the data" "$(sectors copy 0 1920)" "$(sectors $r1 0 1920)"
}

new_case flakey_and_dust_fail_as_told
flakey_and_dust_fail_as_told_body() {
	need_target dust
	stamp
	make vol "0 2048 flakey $b1 0 0 60 1 error_writes"
	dd if=$r2 of=$m/rvol bs=4k count=1 2>/dev/null && atf_fail "a write to flakey"
	dd if=$m/rvol of=/dev/null bs=4k count=1 2>/dev/null || atf_fail "a read from flakey"
	swap vol "0 2048 dust $b1 0 512"
	say vol 0 addbadblock 60
	say vol 0 enable
	dd if=$m/rvol of=/dev/null bs=512 skip=60 count=1 2>/dev/null && atf_fail "a bad block"
	dd if=$m/rvol of=/dev/null bs=512 skip=61 count=1 2>/dev/null || atf_fail "a good block"
	dd if=$r2 of=$m/rvol bs=512 seek=60 count=1 2>/dev/null || atf_fail "writing makes it good"
	dd if=$m/rvol of=/dev/null bs=512 skip=60 count=1 2>/dev/null || atf_fail "it is good"
}

new_case unstriped_and_switch_find_their_places
unstriped_and_switch_find_their_places_body() {
	need_target switch
	stamp
	make whole "0 4096 striped 2 64 $b1 0 $b2 0"
	make second "0 2048 unstriped 2 64 1 $m/whole 0"
	same "the stripe" "$(sectors $m/rsecond 0 2048)" "$(sectors $r2 0 2048)"
	make vol "0 256 switch 2 64 0 $b1 0 $b2 0"
	say vol 0 set_region_mappings 0:1 :1 :0 :0
	same "regions 0 and 1" "$(sectors $m/rvol 0 128)" "$(sectors $r2 0 128)"
	same "regions 2 and 3" "$(sectors $m/rvol 128 128)" "$(sectors $r1 128 128)"
}

new_case log_writes_notes_writes
log_writes_notes_writes_body() {
	need_target log-writes
	stamp
	make vol "0 2048 log-writes $b1 $b2"
	dd if=/dev/urandom of=$m/rvol bs=4k count=8 2>/dev/null || atf_fail "a write"
	# Writes are noted once they are flushed.
	dkctl $m/rvol synccache >/dev/null 2>&1 || atf_fail "dkctl synccache"
	say vol 0 mark here
	entries=$("$DMSETUP" status vol | awk '{ print $4 }')
	[ "$entries" -gt 8 ] || atf_fail "only $entries entries"
	dm remove vol
	dd if=$r2 bs=512 count=2048 2>/dev/null | grep -q 'here' || atf_fail "the mark is not there"
}

new_case all_idle_targets_go_with_the_module 300
all_idle_targets_go_with_the_module_body() {
	need_target crypt
	modstat | awk '$1 == "dm" { print $3 }' | grep -qx builtin && atf_skip "dm is in the kernel"
	for round in 1 2 3; do
		modstat | awk '{ print $1 }' | grep -qx dm || modload dm || atf_fail "modload"
		dd if=/dev/zero of=$r2 bs=64k count=64 2>/dev/null
		make base "0 8192 linear $b1 0"
		make origin "0 8192 snapshot-origin $m/base"
		make snap "0 8192 snapshot $m/base $b2 P 8"
		make crypt "0 1024 crypt aes-xts-plain64 $key64 0 $b1 16384"
		make mirror "0 1024 mirror core 2 64 nosync 2 $b1 20480 $b2 20480"
		for nr in 1 2 3; do make part$nr "0 1024 linear $b1 $((24576 + nr * 1024))"; done
		make raid "0 1024 raid raid1 3 0 region_size 64 2 - $m/part1 - $m/part2"
		make multi "0 1024 multipath 0 0 1 1 round-robin 0 1 1 $b1 1"
		make delay "0 1024 delay $b1 0 5"
		make log "0 1024 log-writes $b1 $m/part3"
		for name in origin snap crypt mirror raid multi delay log; do
			dd if=$m/r$name of=/dev/null bs=64k count=1 2>/dev/null || atf_fail "reading $name"
		done
		modunload dm 2>/dev/null && atf_fail "unloaded with devices"
		remove_devices
		modunload dm || atf_fail "round $round: modunload; $(names)"
	done
	modload dm
}
