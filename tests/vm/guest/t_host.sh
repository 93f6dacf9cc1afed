#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# host: dmhost, the driver in a process, on NetBSD: image files and disks, over NBD
. "$(dirname "$0")/dm.subr"

: "${DM_HOST:=}"

# start_host: the driver in a process, with its nodes in ./dev; $client is a dmsetup for it.
start_host() {
	need_disks
	need_tool
	[ -n "$DM_HOST" ] || atf_skip "DM_HOST names no dmhost"
	client=$(dirname "$DM_TOOL")/dmsetup
	DM_DEV_DIR=$(pwd)/dev
	export DM_DEV_DIR
	mkdir -p dev
	$DM_HOST --dev-dir dev --daemon --pid-file host.pid >host.log 2>&1 || {
		case $(cat host.log) in
		*accept4*) atf_skip "this system's libc has no accept4(2), as Rust wants it" ;;
		*) atf_fail "dmhost: $(cat host.log)" ;;
		esac
	}
}

end_host() {
	[ ! -e host.pid ] || kill "-${1:-TERM}" "$(cat host.pid)"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		kill -0 "$(cat host.pid)" 2>/dev/null || break
		sleep 1
	done
}

nbd() { "$DM_TOOL" nbd dev/nbd.sock "$@"; }

tidy_up() {
	[ ! -e host.pid ] || kill -9 "$(cat host.pid)" 2>/dev/null || true
	remove_devices
}

new_case image_files_make_a_disk 300
image_files_make_a_disk_body() {
	start_host
	dd if=/dev/zero of=a.img bs=64k count=16 2>/dev/null
	dd if=/dev/zero of=b.img bs=64k count=16 2>/dev/null
	printf '0 2048 linear %s 0\n2048 2048 linear %s 0\n' "$(pwd)/a.img" "$(pwd)/b.img" >two
	atf_check -o ignore "$client" create two two
	atf_check -o inline:"2097152\n" "$DM_TOOL" nbd dev/nbd.sock two size
	dd if=/dev/urandom of=data bs=64k count=20 2>/dev/null
	nbd two write 393216 <data || atf_fail "no write"
	nbd two read 393216 1310720 >back || atf_fail "no read"
	cmp data back || atf_fail "it reads otherwise"
	nbd two flush || atf_fail "no flush"
	dd if=a.img bs=64k skip=6 2>/dev/null >part
	dd if=b.img bs=64k count=10 2>/dev/null >>part
	cmp data part || atf_fail "the files hold something else"
	atf_check -o match:"State: +SUSPENDED" -e ignore sh -c \
		"'$client' suspend two && '$client' info two"
	atf_check "$client" resume two
	atf_check "$client" remove two
	end_host
}

new_case disks_have_their_size_and_are_flushed 300
disks_have_their_size_and_are_flushed_body() {
	stamp
	start_host
	sectors=$(($(dd if=$r1 bs=64k 2>/dev/null | wc -c) / 512))
	atf_check -s exit:1 -e match:"which has $sectors" \
		"$client" create far --table "0 8 linear $b1 $sectors"
	atf_check -o ignore "$client" create whole --table "0 $sectors linear $b1 0"
	atf_check -o match:"0 $sectors linear [0-9]+:[0-9]+ 0" "$client" table whole
	number=$("$client" table whole | awk '{ print $4 }')
	dd if=/dev/urandom of=data bs=64k count=8 2>/dev/null
	nbd whole write 65536 <data || atf_fail "no write"
	nbd whole flush || atf_fail "no flush"
	atf_check "$client" remove whole
	dd if=$r1 bs=64k skip=1 count=8 2>/dev/null >back
	cmp data back || atf_fail "the disk holds something else"
	atf_check -o ignore "$client" create again --readonly --table "0 1024 linear $number 128"
	nbd again read 0 524288 >back || atf_fail "no read by number"
	cmp data back || atf_fail "by its number the disk reads otherwise"
	nbd again flush || atf_fail "no flush of what is read-only"
	atf_check "$client" remove again
	end_host
}

new_case what_was_flushed_outlives_the_process 300
what_was_flushed_outlives_the_process_body() {
	start_host
	dd if=/dev/zero of=a.img bs=64k count=64 2>/dev/null
	key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
	line="0 8192 crypt aes-xts-plain64 $key 0 $(pwd)/a.img 0"
	atf_check -o ignore "$client" create secret --table "$line"
	dd if=/dev/urandom of=data bs=64k count=64 2>/dev/null
	nbd secret write 0 <data || atf_fail "no write"
	nbd secret flush || atf_fail "no flush"
	end_host KILL
	! cmp -s data a.img || atf_fail "nothing is encrypted"
	start_host
	atf_check -o ignore "$client" create secret --table "$line"
	nbd secret read 0 4194304 >back || atf_fail "no read"
	cmp data back || atf_fail "it reads otherwise"
	end_host
}
