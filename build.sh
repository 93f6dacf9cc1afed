#!/bin/sh
# The only entry point: ./build.sh prints its commands, ./build.sh NAME [args] runs one.
# A command is a function cmd_NAME; the text after ## is its line in that list.
# What cannot run here is skipped aloud and counted, never taken as passed.
set -eu

cd "$(dirname "$0")"
top=$(pwd)
out=$top/target/build # logs and counts
export CARGO_TARGET_DIR="$top/target"
mkdir -p "$out"

say() { printf '==> %s\n' "$*"; }
die() {
	printf 'build.sh: %s\n' "$*" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
host() { rustc -vV | sed -n 's/^host: //p'; }

# ---- what the distribution provides ----------------------------------------

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >>"$out/apt.log" 2>&1
}

not_installed() {
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
			printf ' %s' "$package"
	done
}

# packages NAME...: installs the missing ones; says so, and says what it could not install.
packages() {
	have apt-get || {
		say "no apt-get here; the tests look for the programs of: $*"
		return 0
	}
	missing=$(not_installed "$@")
	[ -n "$missing" ] || return 0
	say "installing:$missing"
	# shellcheck disable=SC2086 # a list of words
	apt install -y --no-install-recommends $missing || {
		apt update && apt install -y --no-install-recommends $missing
	} || say "could not install:$missing (see $out/apt.log); what needs them is skipped"
}

# ---- counting ---------------------------------------------------------------

# A test that cannot run appends one line "name: reason" to the file $DM_SKIP_LOG and
# returns; the harness takes it as passed, so counts_end moves it to the skipped ones.
counts_start() {
	export DM_SKIP_LOG="$out/skipped-tests"
	: >"$DM_SKIP_LOG"
	: >"$out/skipped-steps"
	passed=0 failed=0 ignored=0
}

skip_step() { printf '%s\n' "$*" >>"$out/skipped-steps"; }

# sum WORD LOG: adds up the numbers before WORD in the summary lines of the test runners.
sum() {
	grep -E '^(test result:| *Summary)' "$2" | grep -oE "[0-9]+ $1" |
		awk '{ n += $1 } END { print n + 0 }'
}

# tests NAME COMMAND...: runs one test runner, shows and keeps what it says, adds its counts.
tests() {
	log=$out/test-$1.log
	say "$1"
	shift
	status=$({ { "$@" 2>&1 && echo 0 >&3 || echo $? >&3; } | tee "$log" >&4; } 3>&1) 4>&1
	bad=$(($(sum failed "$log") + $(sum 'timed out' "$log")))
	[ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	passed=$((passed + $(sum passed "$log")))
	failed=$((failed + bad))
	ignored=$((ignored + $(sum ignored "$log") + $(sum skipped "$log")))
}

# counts_end: lists what was skipped and closes with the one line of counts.
counts_end() {
	sort -u "$DM_SKIP_LOG" >"$out/skipped"
	passed=$((passed - $(wc -l <"$out/skipped")))
	cat "$out/skipped-steps" >>"$out/skipped"
	sed 's/^/SKIPPED: /' "$out/skipped"
	skipped=$((ignored + $(wc -l <"$out/skipped")))
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# ---- commands ---------------------------------------------------------------

cmd_run() { ## the demonstration: builds, makes devices in a process, shows them at work
	packages e2fsprogs fuse3 libnbd-bin
	say "building"
	cargo build --release --quiet -p dm-host -p dmsetup
	exec tests/demo.sh "$@"
}

cmd_test() { ## all tests that need no virtual machine; arguments select tests by name
	packages cryptsetup-bin dmsetup e2fsprogs fio fuse3 libnbd-bin lvm2 mandoc nbdkit qemu-system-common qemu-utils xxd
	counts_start
	if have cargo-nextest; then
		tests unit cargo nextest run --workspace --no-fail-fast --status-level slow "$@"
	else
		tests unit cargo test --workspace --lib --bins --tests --no-fail-fast --quiet "$@"
	fi
	if [ $# -eq 0 ]; then
		tests doc cargo test --workspace --doc --no-fail-fast --quiet
		tests soft test_soft_ciphers
	fi
	counts_end
}

# The ciphers as a kernel has them.
test_soft_ciphers() {
	CARGO_TARGET_DIR=$top/target/soft RUSTFLAGS=$(soft_ciphers) \
		cargo test --package dm-cipher --tests --no-fail-fast --quiet
}

# Without vector registers, which a kernel does not use: how the crates of others name that.
soft_ciphers() {
	for crate in aes chacha20 poly1305 sha1 sha2; do
		printf ' --cfg %s_backend="soft"' $crate
	done
}

# check NAME PROGRAM COMMAND...: one check; skipped aloud when PROGRAM is missing.
check() {
	name=$1 program=$2
	shift 2
	if ! have "$program"; then
		echo "$name: SKIPPED, there is no $program"
	elif "$@" >"$out/check-$name.log" 2>&1; then
		echo "$name: ok"
	else
		cat "$out/check-$name.log"
		echo "$name: FAILED"
		check_failed=1
	fi
}

# Some crates are outside the workspace.
check_format() {
	cargo fmt --all --check
	for crate in tests/fuzz sys/dev/dm/netbsd sys/dev/dm/netbsd/tool; do
		cargo fmt --manifest-path $crate/Cargo.toml --check
	done
}

# Every licence of the tree is one that deny.toml allows; of "A OR B" one is enough.
check_licences() {
	sed -n '/^allow = \[/,/^]/s/^ *"\(.*\)",$/\1/p' deny.toml >"$out/licences"
	cargo tree --workspace --edges normal,build --prefix none --format '{l};{p}' | grep . | sort -u |
		awk -F';' 'NR == FNR { ok[$0]; next }
			{ good = 0; n = split($1, or, / OR |\//); for (i = 1; i <= n; i++) {
				m = split(or[i], and, / AND /); all = m > 0
				for (j = 1; j <= m; j++) { gsub(/[()]/, "", and[j]); all = all && and[j] in ok }
				good = good || all } }
			!good { print "not allowed by deny.toml: " $1 " of " $2; bad = 1 }
			END { exit bad }' "$out/licences" -
}

# What the driver leaves to the linker is declared in the seam, or comes from the compiler.
check_seam() {
	cargo build --quiet --package dm
	grep -oE 'fn dm_kern_[a-z0-9_]+' sys/dev/dm/src/kern/raw.rs | cut -d' ' -f2 >"$out/seam"
	nm -u target/debug/libdm.rlib 2>/dev/null | awk '$1 == "U" { print $2 }' >"$out/undefined"
	[ -s "$out/undefined" ] || return 1
	compiler='^(_ZN|_R|__rust|mem(cmp|cpy|move|set)$|rust_eh_personality$|_Unwind_Resume$)'
	! grep -vE "$compiler" "$out/undefined" | grep -vxFf "$out/seam"
}

check_manuals() {
	find share/man -name '*.[1-9]' -exec mandoc -T lint -W warning {} +
}

check_scripts() {
	{ printf '%s\n' build.sh .ci/run sys/dev/dm/netbsd/build.sh share/rc.d/dm && find tests -name '*.sh' ! -path '*/target/*'; } |
		xargs shellcheck
}

cmd_check() { ## format, lints, licences, the rules of the tree, manuals, scripts
	packages mandoc shellcheck
	check_failed=0
	check format cargo check_format
	check lints cargo cargo clippy --workspace --all-targets --quiet -- -D warnings
	check tidy cargo env RUST_BACKTRACE=0 cargo test --quiet --package tidy
	check seam nm check_seam
	check licences cargo check_licences
	check advisories cargo-deny cargo deny check
	check scripts shellcheck check_scripts
	[ ! -d share/man ] || check manuals mandoc check_manuals
	netbsd check
	[ "$check_failed" -eq 0 ]
}


# cargo_for TARGET ARG...: cargo with a standard library for TARGET: an installed one, or one
# built from the sources that come with rustup or with Debian's rustc-web.
cargo_for() {
	target=$1
	shift
	sources=lib/rustlib/src/rust/library/Cargo.lock
	if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
		cargo "$@" --target "$target"
	elif [ -e "$(rustc --print sysroot)/$sources" ]; then
		RUSTC_BOOTSTRAP=1 cargo "$@" -Zbuild-std --target "$target"
	else
		packages rustc-web cargo-web rust-web-src
		[ -e "/usr/$sources" ] || die "no standard library for $target: rustup target add $target"
		RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo "$@" -Zbuild-std --target "$target"
	fi
}

# zig brings NetBSD's headers and the symbols of its libraries; 0.15.2 those of NetBSD 10.1.
netbsd_linker() {
	[ -e "$out/zig/ziglang" ] || {
		say "installing ziglang 0.15.2 with pip"
		python3 -m pip --version >/dev/null 2>&1 || packages python3-pip
		python3 -m pip install -qq --target "$out/zig" ziglang==0.15.2
	}
	printf '#!/bin/sh\nPYTHONPATH=%s exec python3 -m ziglang cc -target x86_64-netbsd.10.1 "$@"\n' \
		"$out/zig" >"$out/netbsd-cc"
	chmod +x "$out/netbsd-cc"
}

cmd_cross() { ## dmsetup, dmhost and libdm for NetBSD 10/amd64, into target/x86_64-unknown-netbsd/release
	netbsd_linker
	CARGO_TARGET_X86_64_UNKNOWN_NETBSD_LINKER=$out/netbsd-cc \
		cargo_for x86_64-unknown-netbsd build --release --package libdm --package dmsetup \
		--package dm-replay-log --package dm-host
	readelf -n target/x86_64-unknown-netbsd/release/dmsetup | grep 'IDENT' ||
		die "dmsetup carries no note of NetBSD"
}

netbsd() {
	. "$top/sys/dev/dm/netbsd/build.sh"
	job=netbsd_$1
	shift
	"$job" "$@"
}
cmd_module() { ## dm.kmod for NetBSD: module --netbsd 10.1|11.0 | --src DIR | --include DIR
	netbsd module "$@"
}
cmd_object() { ## the same as an object for config(1)
	netbsd object "$@"
}
cmd_kernel() { ## the object and what a kernel's source tree needs besides
	netbsd kernel "$@"
}

# put MODE FILE PLACE: installs one file below DESTDIR and PREFIX.
put() {
	install -d "$DESTDIR$PREFIX/${3%/*}"
	install -m "$1" "$2" "$DESTDIR$PREFIX/$3"
}

# install_netbsd VERSION|DIR: into a NetBSD system's own places, for its kernel of that version or
# source tree.
install_netbsd() {
	PREFIX=''
	case $1 in
	10.1 | 11.0) netbsd module --netbsd "$1" ;;
	*) netbsd module --src "$1" ;;
	esac
	cmd_cross
	for program in dmsetup dm-replay-log dmhost; do
		put 755 "target/x86_64-unknown-netbsd/release/$program" "sbin/$program"
	done
	put 444 "$netbsd_work/dm.kmod" "stand/amd64/$netbsd_release/modules/dm/dm.kmod"
	put 555 share/rc.d/dm etc/rc.d/dm
	for manual in share/man/man[1-8]/*.[1-8] share/man/man9/*.9; do
		[ ! -e "$manual" ] || put 444 "$manual" "usr/$manual"
	done
	say "dmsetup makes the nodes in /dev/mapper; 'dm=YES' in rc.conf starts /etc/dm.conf"
}

cmd_install() { ## programs, manuals, completions: install [DESTDIR=dir] [PREFIX=/usr/local] [NETBSD=10.1|11.0|source]
	DESTDIR='' PREFIX=/usr/local NETBSD=''
	for setting in "$@"; do
		case $setting in
		DESTDIR=*) DESTDIR=${setting#*=} ;;
		PREFIX=*) PREFIX=${setting#*=} ;;
		NETBSD=*) NETBSD=${setting#*=} ;;
		*) die "install takes DESTDIR=, PREFIX= and NETBSD=, not $setting" ;;
		esac
	done
	[ -z "$NETBSD" ] || {
		install_netbsd "$NETBSD"
		return
	}
	cargo build --release --quiet --package dmsetup --package dm-replay-log --package dm-host
	for program in dmsetup dm-replay-log dmhost; do put 755 "target/release/$program" "sbin/$program"; done
	for manual in share/man/man*/*.[1-9]; do put 644 "$manual" "$manual"; done
	completions=sbin/dmsetup/completions
	put 644 "$completions/dmsetup.bash" share/bash-completion/completions/dmsetup
	put 644 "$completions/dmsetup.fish" share/fish/vendor_completions.d/dmsetup.fish
	put 644 "$completions/_dmsetup" share/zsh/site-functions/_dmsetup
}

cmd_vm() { ## tests in a NetBSD machine: vm --release DIR|URL | --image FILE [options] [tests]
	# shellcheck source=/dev/null
	. "$top/tests/vm/build.sh"
	vm_main "$@"
}

# Coverage counters and comparisons are what libFuzzer steers by.
fuzz_flags() {
	printf ' %s' --cfg fuzzing -Zsanitizer=address -Ccodegen-units=1 -Cpasses=sancov-module
	printf ' -Cllvm-args=-sanitizer-coverage-%s' \
		level=4 inline-8bit-counters pc-table trace-compares
}

# fuzz_build NAME: builds one target; a file without its [[bin]] in Cargo.toml is an error.
fuzz_build() {
	(cd tests/fuzz && unset CARGO_TARGET_DIR && RUSTC_BOOTSTRAP=1 RUSTFLAGS=$(fuzz_flags) \
		cargo build --quiet --release --target "$(host)" --bin "$1")
}

# fuzz_one SECONDS NAME: runs one target; what it finds is kept in tests/fuzz/artifacts.
fuzz_one() {
	leaks=1
	# Its server's threads end while leaks are looked for.
	[ "$2" != nbd ] || leaks=0
	mkdir -p "tests/fuzz/corpus/$2" "tests/fuzz/artifacts/$2" "tests/fuzz/seeds/$2"
	say "$2, $1 seconds"
	"tests/fuzz/target/$(host)/release/$2" "tests/fuzz/corpus/$2" "tests/fuzz/seeds/$2" \
		-max_total_time="$1" -timeout=10 -detect_leaks=$leaks -artifact_prefix="tests/fuzz/artifacts/$2/" >"$out/fuzz-$2.log" 2>&1 && {
		grep -E '^Done' "$out/fuzz-$2.log"
		return
	}
	tail -n 60 "$out/fuzz-$2.log"
	echo "$2: FAILED, log $out/fuzz-$2.log"
	fuzz_failed=1
}

cmd_fuzz() { ## fuzz targets of tests/fuzz: fuzz [seconds each, 60] [names]
	seconds=${1:-60}
	[ $# -eq 0 ] || shift
	[ $# -gt 0 ] || for file in tests/fuzz/fuzz_targets/*.rs; do
		set -- "$@" "$(basename "$file" .rs)"
	done
	packages g++
	fuzz_failed=0
	for name in "$@"; do fuzz_build "$name"; done
	for name in "$@"; do fuzz_one "$seconds" "$name"; done
	[ "$fuzz_failed" -eq 0 ]
}

cmd_miri() { ## the driver and libdm under Miri, which finds undefined behaviour; arguments go to cargo test
	cargo +nightly miri --version >/dev/null 2>&1 || {
		echo "SKIPPED: there is no Miri; rustup component add miri rust-src --toolchain nightly"
		exit 77
	}
	[ $# -gt 0 ] || set -- --package dm-protocol --package dm-tests --package libdm --tests
	MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}" cargo +nightly miri test "$@"
}

cmd_oracle() { ## a Linux kernel's dm beside ours: oracle [--record] [part of a case's name ...]
	if [ "$(uname -sm)" != "Linux x86_64" ] || ! have apt-get; then
		echo "SKIPPED: the guest is made of Debian's packages for x86_64"
		exit 77
	fi
	packages qemu-system-x86 cpio kmod debian-archive-keyring
	counts_start
	guest=${DM_GUEST:-${XDG_CACHE_HOME:-$HOME/.cache}/dm-oracle}
	cargo build --quiet --package dm-play --package dm-oracle
	if have qemu-system-x86_64 && tests/oracle/guest.sh "$guest" target/debug/dm-play; then
		tests oracle target/debug/dm-oracle "$guest" "$@"
		counts_end
	else
		echo "SKIPPED: there is no guest; qemu and the packages of Debian are needed"
		exit 77
	fi
}

cmd_bench() { ## measure: bench [--quick] [--keep] [driver] [devices] [crypt] [copies] [startup] [fronts] [netbsd]
	packages dmsetup fio libnbd-bin nbdkit qemu-system-common qemu-utils valgrind
	cargo build --release --quiet --package dm-bench --package dm-host --package dmsetup
	exec target/release/dm-bench "$@"
}

usage() {
	echo "usage: ./build.sh command [args]"
	sed -n 's/^cmd_\([a-z]*\)() { ## \(.*\)/  \1	\2/p' build.sh | expand -t 12
}

[ $# -gt 0 ] || {
	usage
	exit 0
}
command=$1
shift
grep -q "^cmd_$command() { ##" build.sh || die "no command '$command'; ./build.sh lists them"
"cmd_$command" "$@"
