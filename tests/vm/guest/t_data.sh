#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# what is read and written is what the table says
. "$(dirname "$0")/dm.subr"

tidy_up() {
	remove_devices
	vnconfig -u vnd0 >/dev/null 2>&1 || true
}

new_case linear_maps_what_the_table_says
linear_maps_what_the_table_says_body() {
	stamp
	make l1 "0 1000 linear $b1 96
1000 2000 linear $b2 32"
	same first "$(sectors $m/rl1 0 1000)" "$(sectors "$r1" 96 1000)"
	same second "$(sectors $m/rl1 1000 2000)" "$(sectors "$r2" 32 2000)"
	same "raw and block" "$(sectors $m/l1 0 3000)" "$(sectors $m/rl1 0 3000)"
	dd if=/dev/urandom of=data bs=512 count=256 2>/dev/null
	dd if=data of=$m/rl1 bs=64k seek=0 2>/dev/null
	same written "$(sectors data 0 256)" "$(sectors "$r1" 96 256)"
}

new_case a_request_across_segments_is_whole
a_request_across_segments_is_whole_body() {
	stamp
	make l1 "0 60 linear $b1 0
60 4 linear $b2 8
64 64 linear $b1 128"
	dd if=/dev/urandom of=data bs=64k count=1 2>/dev/null
	dd if=data of=$m/rl1 bs=64k 2>/dev/null
	same read "$(dd if=$m/rl1 bs=64k 2>/dev/null | cksum -a sha1)" "$(cksum -a sha1 <data)"
	same middle "$(sectors "$r2" 8 4)" "$(sectors data 60 4)"
}

new_case striped_deals_chunks_in_turn
striped_deals_chunks_in_turn_body() {
	stamp
	make s1 "0 4096 striped 2 16 $b1 32 $b2 64"
	for chunk in 0 1 2 3 100 255; do
		case $((chunk % 2)) in
		0) disk=$r1 from=32 ;;
		1) disk=$r2 from=64 ;;
		esac
		same "chunk $chunk" "$(sectors $m/rs1 $((chunk * 16)) 16)" \
			"$(sectors "$disk" $((from + (chunk / 2) * 16)) 16)"
	done
	dd if=/dev/urandom of=data bs=64k count=8 2>/dev/null
	dd if=data of=$m/rs1 bs=64k 2>/dev/null
	same back "$(dd if=$m/rs1 bs=8k count=64 2>/dev/null | cksum -a sha1)" "$(cksum -a sha1 <data)"
}

new_case striped_over_more_than_four
striped_over_more_than_four_body() {
	stamp
	make s6 "0 768 striped 6 8 $b1 0 $b2 0 $b1 200 $b2 200 $b1 400 $b2 400"
	same "chunk 4" "$(sectors $m/rs6 32 8)" "$(sectors "$r1" 400 8)"
	same "chunk 5" "$(sectors $m/rs6 40 8)" "$(sectors "$r2" 400 8)"
	same "chunk 6" "$(sectors $m/rs6 48 8)" "$(sectors "$r1" 8 8)"
}

new_case zero_reads_zeroes_and_takes_writes
zero_reads_zeroes_and_takes_writes_body() {
	need_disks
	make z0 "0 2048 zero"
	same size "$(size_of $m/rz0)" 1048576
	same zeroes "$(dd if=$m/rz0 bs=64k 2>/dev/null | tr -d '\0' | wc -c | tr -d ' ')" 0
	dd if=/dev/urandom of=data bs=64k count=1 2>/dev/null
	dd if=data of=$m/rz0 bs=64k 2>/dev/null || atf_fail "a write"
	same "zeroes again" "$(dd if=$m/rz0 bs=64k 2>/dev/null | tr -d '\0' | wc -c | tr -d ' ')" 0
}

new_case error_fails_and_nothing_else_does
error_fails_and_nothing_else_does_body() {
	stamp
	make e0 "0 64 linear $b1 0
64 64 error
128 64 linear $b1 128"
	same before "$(sectors $m/re0 0 64)" "$(sectors "$r1" 0 64)"
	same behind "$(sectors $m/re0 128 64)" "$(sectors "$r1" 128 64)"
	dd if=$m/re0 of=data bs=512 skip=64 count=1 2>/dev/null && atf_fail "a read"
	dd if=/dev/zero of=$m/re0 bs=512 seek=127 count=1 2>/dev/null && atf_fail "a write"
	[ "$(dd if=$m/re0 bs=512 2>/dev/null | wc -c)" -eq 32768 ] || atf_fail "not up to the error"
}

new_case a_read_past_the_end_is_cut
a_read_past_the_end_is_cut_body() {
	stamp
	make t1 "0 1000 linear $b1 0"
	same size "$(size_of $m/rt1)" 512000
	same data "$(dd if=$m/rt1 bs=64k 2>/dev/null | cksum -a sha1)" "$(sectors "$r1" 0 1000)"
	dd if=/dev/zero bs=64k count=8 2>/dev/null | dd of=$m/rt1 bs=64k 2>/dev/null
	same behind "$(sectors "$r1" 1000 4)" "$(sectors "$r1" 1000 4)"
	dm remove t1
	make t3 "0 1008 striped 3 56 $b1 0 $b2 0 $b1 4096"
	same "striped" "$(size_of $m/rt3)" 516096
}

new_case devices_lie_on_one_another
devices_lie_on_one_another_body() {
	stamp
	make low "0 4096 striped 2 8 $b1 0 $b2 0"
	make mid "0 4000 linear $m/low 96"
	make top "0 100 linear $m/mid 10
100 100 linear $m/mid 3000"
	same one "$(sectors $m/rtop 0 100)" "$(sectors $m/rlow 106 100)"
	same two "$(sectors $m/rtop 100 100)" "$(sectors $m/rlow 3096 100)"
	dm remove low
	exists low || atf_fail "a device went that another lies on"
}

new_case iostat_counts_what_was_done
iostat_counts_what_was_done_body() {
	stamp
	make io1 "0 2048 linear $b1 0"
	counted=$(sysctl -n hw.iostatnames 2>/dev/null | tr ' ' '\n' | grep -cx io1)
	same "iostat lists it" "$counted" 1
	dd if=$m/rio1 of=/dev/null bs=64k count=16 2>/dev/null
	iostat -x io1 >seen 2>&1 || atf_fail "iostat: $(cat seen)"
	grep -q io1 seen || atf_fail "iostat says nothing of it"
}

new_case a_request_is_counted_when_it_is_done
a_request_is_counted_when_it_is_done_body() {
	stamp
	make io1 "0 2048 linear $b1 0"
	transfers() { iostat -I -x io1 | awk '$1 == "io1" { print $3 + $7 }'; }
	before=$(transfers)
	dm suspend io1
	dd if=$m/rio1 of=/dev/null bs=64k count=1 2>/dev/null &
	sleep 1
	held=$(transfers)
	dm resume io1
	wait
	same "while it is held" "$held" "$before"
	[ "$(transfers)" -gt "$before" ] || atf_fail "not counted when it was done"
}

new_case more_stripes_than_a_byte_counts
more_stripes_than_a_byte_counts_body() {
	stamp
	words=
	nr=0
	while [ $nr -lt 130 ]; do
		words="$words $b1 $((nr * 8)) $b2 $((nr * 8))"
		nr=$((nr + 1))
	done
	make s260 "0 2080 striped 260 8$words"
	same "chunk 0" "$(sectors $m/rs260 0 8)" "$(sectors "$r1" 0 8)"
	same "chunk 259" "$(sectors $m/rs260 2072 8)" "$(sectors "$r2" 1032 8)"
	same "words of its table" "$(table s260 | wc -w | tr -d ' ')" 525
}

new_case delay_delays
delay_delays_body() {
	stamp
	make d1 "0 64 delay $b1 0 1500"
	start=$(date +%s)
	data=$(sectors $m/rd1 0 8)
	[ $(($(date +%s) - start)) -ge 1 ] || atf_fail "it does not"
	same data "$data" "$(sectors "$r1" 0 8)"
}

new_case flakey_fails_now_and_then
flakey_fails_now_and_then_body() {
	stamp
	make f1 "0 64 flakey $b1 0 2 2"
	good=0 bad=0
	end=$(($(date +%s) + 9))
	while [ "$(date +%s)" -lt $end ]; do
		if dd if=$m/rf1 of=/dev/null bs=4k count=1 2>/dev/null; then
			good=$((good + 1))
		else
			bad=$((bad + 1))
		fi
		[ $good -eq 0 ] || [ $bad -eq 0 ] || return 0
		sleep 1
	done
	atf_fail "$good reads went well, $bad did not"
}

new_case a_flush_that_fails_is_told
a_flush_that_fails_is_told_body() {
	need vnconfig
	stamp
	dd if=/dev/zero of=image bs=64k count=16 2>/dev/null
	vnconfig vnd0 "$(pwd)/image" || atf_skip "there is no vnd(4)"
	make v1 "0 1024 linear /dev/vnd0d 0"
	dkctl $m/rv1 synccache >out 2>&1 || atf_fail "a flush: $(cat out)"
	vnconfig -u -F vnd0
	dkctl $m/rv1 synccache >out 2>&1 && atf_fail "a flush of a disk that is gone went well"
	dd if=$m/rv1 of=/dev/null bs=512 count=1 2>/dev/null && atf_fail "a read went well"
	dm remove v1
	! exists v1 || atf_fail "not removed"
}

# ask_host WORDS: of who runs the machine, who sees its console.
ask_host() {
	echo "dm-host: $*" >/dev/console
}

# A look that sends the disk no request.
plugged() { sysctl -n hw.disknames | tr ' ' '\n' | grep -qx "${DM_PLUG%?}"; }
unplugged() { ! plugged; }
readable() { dd if="/dev/r$DM_PLUG" of=/dev/null bs=512 count=1 2>/dev/null; }

until_so() { # until_so COMMAND...: within a minute
	left=60
	until "$@"; do
		left=$((left - 1))
		[ $left -gt 0 ] || atf_fail "after a minute not $*"
		sleep 1
	done
}

# Nothing is on its way to the disk at that moment, since umass(4) itself hangs then.
new_case a_disk_is_pulled_out_while_it_is_open 300
a_disk_is_pulled_out_while_it_is_open_body() {
	[ -n "${DM_PLUG:-}" ] || atf_skip "DM_PLUG names no disk that can be pulled out"
	[ "$TEST_DM" = ours ] || atf_skip "the stock driver does not hold requests back"
	need_tool
	stamp
	plugged || atf_skip "there is no $DM_PLUG"
	dd if="$r1" of="/dev/r$DM_PLUG" bs=64k count=32 2>/dev/null
	make p1 "0 8192 linear /dev/$DM_PLUG 4096
8192 4096 linear $b2 0"
	make top "0 8192 striped 2 128 $m/p1 0 $b1 65536"
	("$DM_TOOL" stomp $m/rtop 25 3 7 errors >stomped 2>&1 || echo bad >>stomped) &
	sleep 3
	dm suspend p1
	ask_host pull out
	until_so unplugged
	dm resume p1
	dd if=$m/rp1 of=/dev/null bs=4k count=1 2>/dev/null && atf_fail "a read went well"
	dd if=$r1 of=$m/rp1 bs=4k count=1 2>/dev/null && atf_fail "a write went well"
	dd if=$r1 of=$m/p1 bs=4k count=1 2>/dev/null && atf_fail "a write went well, of a block"
	dkctl $m/rp1 synccache >/dev/null 2>&1 && atf_fail "a flush went well"
	same "what lies elsewhere" "$(sectors $m/rp1 8192 64)" "$(sectors "$r2" 0 64)"
	wait
	! grep -q '^bad' stomped || atf_fail "$(cat stomped)"
	info p1 'State' | grep -q ACTIVE || atf_fail "$("$DMSETUP" info p1 2>&1)"
	"$DMSETUP" status top | grep -q ' 1 DA' || atf_fail "$("$DMSETUP" status top 2>&1)"
	dm remove top
	! exists top || atf_fail "not removed"
	ask_host put back
	until_so plugged
	until_so readable
	same "what was written before" "$(sectors "/dev/r$DM_PLUG" 0 4096)" "$(sectors "$r1" 0 4096)"
	load reload p1 "0 4096 linear /dev/$DM_PLUG 0" || atf_fail "reload: $(cat dm.err)"
	dm resume p1
	same "the disk that came back" "$(sectors $m/rp1 0 4096)" "$(sectors "$r1" 0 4096)"
	dm remove p1
	! exists p1 || atf_fail "not removed"
}

need_sour() {
	[ -n "${DM_SOUR:-}" ] || atf_skip "DM_SOUR names no disk with a bad sector"
	dd if="/dev/r$DM_SOUR" of=/dev/null bs=512 count=1 2>/dev/null || atf_skip "no $DM_SOUR"
	dd if="/dev/r$DM_SOUR" of=/dev/null bs=512 count=1 skip="$DM_SOUR_SECTOR" 2>/dev/null &&
		atf_skip "sector $DM_SOUR_SECTOR of $DM_SOUR can be read"
	stamp
}

new_case a_bad_sector_is_told_of_and_no_other
a_bad_sector_is_told_of_and_no_other_body() {
	need_sour
	# Straight, in pieces, and through another device.
	make one "0 8192 linear /dev/$DM_SOUR 0"
	make two "0 16384 striped 2 8 /dev/$DM_SOUR 0 $b1 0"
	make three "0 8192 linear $m/one 0"
	at=$DM_SOUR_SECTOR
	for name in one three; do
		dd if=$m/r$name of=/dev/null bs=512 skip="$at" count=1 2>/dev/null && atf_fail "a read"
		dd if=$m/r$name of=/dev/null bs=64k 2>/dev/null && atf_fail "a read of much"
		dd if=$m/r$name of=/dev/null bs=512 skip=$((at - 1)) count=1 2>/dev/null || atf_fail before
		dd if=$m/r$name of=/dev/null bs=512 skip=$((at + 1)) count=1 2>/dev/null || atf_fail behind
		dd if=$m/$name of=/dev/null bs=4k skip=$((at / 8)) count=1 2>/dev/null && atf_fail block
	done
	# On both stripes, so that one half of the request goes well.
	dd if=$m/rtwo of=/dev/null bs=64k 2>/dev/null && atf_fail "a read of two"
	"$DMSETUP" status two | grep -q 'DA' || atf_fail "$("$DMSETUP" status two)"
	dd if="$r1" of=$m/rone bs=512 seek="$at" count=1 2>/dev/null || atf_fail "a write"
}
