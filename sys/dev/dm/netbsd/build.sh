# Sourced by the tree's build.sh: the driver as a NetBSD kernel object or module.
# shellcheck shell=sh disable=SC2034,SC2154 # its variables and functions are build.sh's
#
#   --netbsd 10.1|11.0   the headers of that release, from a package registry
#   --src DIR            a NetBSD source tree (or NETBSDSRCDIR)
#   --include DIR        an installed system's headers, such as /usr/include on NetBSD
#   --arch amd64|aarch64 before these; amd64 if it is missing

netbsd=$top/sys/dev/dm/netbsd
netbsd_out=$top/target/netbsd

# netbsd_machine ARCH: how objects for it are made.
netbsd_machine() {
	netbsd_flags="-Crelocation-model=static -Cforce-frame-pointers=yes -Cforce-unwind-tables=no
		--remap-path-prefix=$top/="
	case $1 in
	amd64)
		netbsd_target=x86_64-unknown-none netbsd_clang=x86_64-unknown-netbsd
		netbsd_headers=x86_64-netbsd-none netbsd_tools=''
		netbsd_flags="$netbsd_flags -Ccode-model=kernel -Cno-redzone=yes -Zplt=yes"
		;;
	aarch64)
		netbsd_target=aarch64-unknown-none-softfloat netbsd_clang=aarch64-unknown-netbsd
		netbsd_headers=aarch64-netbsd-none netbsd_tools=aarch64-linux-gnu-
		;;
	*) die "--arch is amd64 or aarch64, not $1" ;;
	esac
	[ "$(uname -m)" != x86_64 ] || [ -z "$netbsd_tools" ] || packages binutils-aarch64-linux-gnu
}

# netbsd_registry RELEASE VERSION: headers of a release, out of a wheel of ziglang.
netbsd_registry() {
	headers=$netbsd_out/headers-$1
	[ -e "$headers/done" ] || {
		say "installing the headers of NetBSD $1 (ziglang $2, with pip)"
		python3 -m pip --version >/dev/null 2>&1 || packages python3-pip
		mkdir -p "$headers"
		python3 -m pip download -qq --no-deps --only-binary :all: -d "$headers" "ziglang==$2"
		(cd "$headers" && python3 -m zipfile -e ./*.whl all &&
			mv all/ziglang/lib/libc/include/*-netbsd* .)
		rm -rf "$headers"/all "$headers"/*.whl
		: >"$headers/done"
	}
	set -- "${1%%.*}" "${1#*.}"
	# Stand-ins for what is not installed come first.
	netbsd_includes="-isystem $netbsd/headers/stub-$netbsd_arch -isystem $netbsd/headers/stub
		-isystem $headers/$netbsd_headers
		-isystem $headers/generic-netbsd -D__NetBSD_Version__=$1$(printf %02d "$2")000000"
}

# netbsd_tree DIR: headers of a source tree.
netbsd_tree() {
	[ -f "$1/sys/sys/param.h" ] || die "$1 is no NetBSD source tree"
	tree=$(cd "$1/sys" && pwd)
	links=$netbsd_out/links
	mkdir -p "$links"
	[ "$netbsd_arch" = amd64 ] || die "from a source tree only amd64 is built"
	ln -sfn "$tree/arch/amd64/include" "$links/machine"
	for arch in amd64 i386 x86; do ln -sfn "$tree/arch/$arch/include" "$links/$arch"; done
	netbsd_includes="-isystem $links -isystem $tree -isystem $tree/arch
		-isystem $tree/../common/include"
}

# The options of the commands; sets $netbsd_name and $netbsd_includes.
netbsd_options() {
	netbsd_arch=amd64
	if [ "${1:-}" = --arch ]; then
		netbsd_arch=${2:-}
		shift 2
	fi
	netbsd_machine "$netbsd_arch"
	[ $# -gt 0 ] || [ -z "${NETBSDSRCDIR:-}" ] || set -- --src "$NETBSDSRCDIR"
	[ $# -gt 0 ] || set -- --netbsd 10.1
	case "$1 ${2:-}" in
	"--netbsd 10.1") netbsd_name=10.1 && netbsd_registry 10.1 0.15.2 ;;
	"--netbsd 11.0") netbsd_name=11.0 && netbsd_registry 11.0 0.17.0 ;;
	"--src "?*) netbsd_name=src && netbsd_tree "$2" ;;
	"--include "?*)
		netbsd_name=include
		netbsd_includes="-isystem $netbsd/headers/stub -isystem $2"
		;;
	*) die "usage: [--arch amd64|aarch64] --netbsd 10.1|11.0 | --src DIR | --include DIR" ;;
	esac
	[ "$netbsd_arch" = amd64 ] || netbsd_name=$netbsd_name-$netbsd_arch
	netbsd_work=$netbsd_out/$netbsd_name
	mkdir -p "$netbsd_work"
}

# The newest libclang; libclang-cpp is another library.
netbsd_libclang() {
	find /usr/lib/llvm-*/lib \( -name 'libclang.so*' -o -name 'libclang-[0-9]*.so*' \) 2>/dev/null |
		sort -V | tail -n 1
}

# The tool that makes bindings needs libclang.
netbsd_tool() {
	library=$(netbsd_libclang)
	[ -n "$library" ] || packages libclang1-19
	library=$(netbsd_libclang)
	[ -n "$library" ] || die "libclang is missing: apt-get install libclang1-19"
	CARGO_TARGET_DIR=$netbsd_out/tool \
		cargo build --quiet --release --locked --manifest-path "$netbsd/tool/Cargo.toml"
	tool=$netbsd_out/tool/release/dm-netbsd-tool
}

netbsd_bind() {
	# shellcheck disable=SC2086 # a list of words
	LIBCLANG_PATH=${library%/*} "$tool" bind "$netbsd/headers/kernel.h" \
		"$netbsd_work/bindings.rs" -target "$netbsd_clang" $netbsd_includes
	number=$(sed -n 's/.*DM_NETBSD_VERSION: .* = \([0-9]*\);/\1/p' "$netbsd_work/bindings.rs")
	say "bindings for __NetBSD_Version__ $number"
	netbsd_release=$((number / 100000000)).$((number / 1000000 % 100))
	# In development, the patch level tells kernels apart.
	[ $((number / 1000000 % 100)) != 99 ] || netbsd_release=$netbsd_release.$((number / 100 % 10000))
	version_flag=
	[ "$number" -lt 900000000 ] || version_flag="--cfg netbsd10"
}

# A compiler with the sources of core and alloc: rustup's component, or Debian's packages.
netbsd_sources() {
	sources=lib/rustlib/src/rust/library/Cargo.lock
	rustc=$(command -v rustc) cargo=cargo
	[ -e "$(rustc --print sysroot)/$sources" ] || {
		packages rustc-web cargo-web rust-web-src
		rustc=/usr/bin/rustc cargo=/usr/bin/cargo
		[ -e "/usr/$sources" ] || die "the sources of core are missing: rustup component add" \
			"rust-src, or apt-get install rustc-web cargo-web rust-web-src"
	}
}

# netbsd_compile FEATURES: the static library, with core and alloc built the same way.
netbsd_compile() {
	netbsd_sources
	# shellcheck disable=SC2046,SC2086,SC2116 # on one line
	(cd "$netbsd" && DM_BINDINGS=$netbsd_work/bindings.rs CARGO_TARGET_DIR=$netbsd_work \
		RUSTC=$rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS=$(echo $netbsd_flags $(soft_ciphers) $version_flag) \
		"$cargo" build --quiet --release --locked --features "$1" --target "$netbsd_target" \
		-Zbuild-std=core,alloc,compiler_builtins)
}

# netbsd_link OBJECT KEEP ROOT...: one object out of the library, without the compiler's own
# memcpy and the like, since the kernel has them; fit for the loader, and checked.
netbsd_link() {
	object=$1 keep=$2
	shift 2
	parts=$netbsd_work/parts
	rm -rf "$parts" && mkdir -p "$parts"
	(cd "$parts" && ar x "$netbsd_work/$netbsd_target/release/libdm_netbsd.a")
	"${netbsd_tools}ld" -r --gc-sections "$@" -T "$netbsd/kmod.ld" -o "$object.whole" "$parts"/dm_netbsd-*.o \
		2>"$netbsd_work/ld.log" || { cat "$netbsd_work/ld.log" && return 1; }
	printf '%s\n' "$keep" | tr ' ' '\n' >"$netbsd_work/keep"
	"${netbsd_tools}objcopy" --keep-global-symbols="$netbsd_work/keep" --strip-unneeded "$object.whole" "$object"
	rm "$object.whole"
	"$tool" finish "$object"
	"${netbsd_tools}objdump" -d "$object" >"$netbsd_work/code"
	"$tool" check "$object" "$netbsd/symbols.list" "$netbsd_work/code"
	say "$object, checked"
}

netbsd_prepare() {
	packages binutils
	netbsd_options "$@"
	netbsd_tool
	netbsd_bind
}

netbsd_module() {
	netbsd_prepare "$@"
	netbsd_compile module
	netbsd_link "$netbsd_work/dm.kmod" none -e __link_set_modules_sym_dm_modinfo
}

# netbsd_variant drill|scarce: a module for the tests, beside the other; see the features of its
# Cargo.toml.
netbsd_variant() {
	variant=$1
	shift
	netbsd_prepare "$@"
	netbsd_compile "$variant"
	netbsd_link "$netbsd_work/dm-$variant.kmod" none -e __link_set_modules_sym_dm_modinfo
}

netbsd_object() {
	netbsd_prepare "$@"
	netbsd_compile ''
	netbsd_link "$netbsd_work/dm_rust.o" "dmattach dm_bdevsw dm_cdevsw" \
		-e dmattach -u dm_bdevsw -u dm_cdevsw
}

netbsd_kernel() {
	netbsd_object "$@"
	cp "$top/sys/dev/dm/files.dm" "$top/sys/dev/dm/dm.ioconf" "$netbsd_work"
	say "in a copy of the source tree: put dm_rust.o and files.dm of $netbsd_work into" \
		"sys/dev/dm, add 'pseudo-device dm' to the configuration, run config(1) and make"
}

# One check of a release: its module and lints. The object differs in its roots only, so that
# one release stands for all, and for the other architecture.
netbsd_check_release() {
	netbsd_module --netbsd "$1" && netbsd_lints && { [ "$1" != 10.1 ] || {
		netbsd_object --netbsd "$1" && netbsd_object --arch aarch64 --netbsd "$1"
	}; }
}

netbsd_lints() {
	for feature in module drill scarce ''; do
		(cd "$netbsd" && DM_BINDINGS=$netbsd_work/bindings.rs RUSTFLAGS=$version_flag \
			CARGO_TARGET_DIR=$netbsd_out/lints \
			cargo clippy --quiet --locked --features "$feature" -- -D warnings)
	done
	CARGO_TARGET_DIR=$netbsd_out/tool cargo clippy --quiet --release --locked \
		--manifest-path "$netbsd/tool/Cargo.toml" -- -D warnings
}

# For "build.sh check", whose variables these are. A subshell, since what is missing ends it.
netbsd_check() {
	packages binutils
	for release in 10.1 11.0; do
		log=$out/check-netbsd-$release.log
		if ! (netbsd_options --netbsd "$release" && netbsd_tool) >"$log" 2>&1; then
			tail -n 3 "$log"
			echo "netbsd $release: SKIPPED, headers or libclang cannot be had"
		elif ! (netbsd_sources) >"$log" 2>&1; then
			tail -n 3 "$log"
			echo "netbsd $release: SKIPPED, there are no sources of core"
		elif (netbsd_check_release "$release") >"$log" 2>&1; then
			echo "netbsd $release: ok"
		else
			cat "$log"
			echo "netbsd $release: FAILED"
			check_failed=1
		fi
	done
}
