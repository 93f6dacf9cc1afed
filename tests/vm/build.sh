# Sourced by the tree's build.sh: tests in a NetBSD virtual machine.
# shellcheck shell=sh disable=SC2154 # its variables and functions are build.sh's
#
# What is missing ends it with "SKIPPED" and 77, never as passed.

vm_skip() {
	echo "SKIPPED: $*"
	exit 77
}

vm_usage() {
	cat <<-'END'
		usage: ./build.sh vm --release DIR|URL | --image FILE  [options] [test ...]
		  --release   a NetBSD release for amd64: a folder or URL that holds amd64/, for example
		              one that NetBSD's build.sh release made, or
		              https://cdn.netbsd.org/pub/NetBSD/NetBSD-10.1/; installed once, below target/vm
		  --image     in its place, a disk with NetBSD installed, root without a password, and
		              its console on the first serial port
		  --src DIR | --netbsd 10.1|11.0   whose headers the module is built with, as for "module"
		  --kernel FILE   a kernel with dm in it, to be booted in place of the machine's own
		  --driver theirs   NetBSD's own module, to compare with
		  --client ours     our dmsetup in place of the machine's
		  --bench     measures instead, what tests/bench/netbsd/run.py says; [part ...] in place of tests
		  --theirs FILE, --cgdconfig FILE   for --bench, NetBSD's dm.kmod and a static cgdconfig, if
		              the machine has none
		  --cpus N, --memory MB, --command LINE
		  test        a program or a case of tests/vm/guest, or one of tests/vm/boots: t_data,
		              t_data:NAME, boots, boots:NAME; all if none
	END
}

# Where anita is: $ANITA, a folder with anita.py, or where python finds it.
vm_need() {
	PYTHONPATH=${ANITA:-}${PYTHONPATH:+:$PYTHONPATH}
	export PYTHONPATH
	packages genisoimage qemu-system-x86 qemu-utils python3-pexpect
	have qemu-system-x86_64 || vm_skip "there is no qemu-system-x86_64"
	python3 -c 'import anita' 2>/dev/null || vm_skip "there is no anita: get misc/py-anita from" \
		"pkgsrc, or a copy of its repository (github: gson1703/anita) and set ANITA=its folder"
}

# vm_stage: what goes into the machine, besides the tests.
vm_stage() {
	stage=$top/target/vm/stage
	rm -rf "$stage" && mkdir -p "$stage"
	netbsd_linker
	CARGO_TARGET_X86_64_UNKNOWN_NETBSD_LINKER=$out/netbsd-cc cargo_for x86_64-unknown-netbsd \
		build --release --quiet --package dmsetup --package dm-guest --package dm-host
	for program in dmsetup dm-guest dmhost; do
		cp "target/x86_64-unknown-netbsd/release/$program" "$stage"
	done
	cp share/rc.d/dm "$stage/rc.dm"
	if [ -n "$vm_kernel" ]; then
		cp "$vm_kernel" "$stage/netbsd"
	elif [ "$vm_driver" = ours ]; then
		for variant in drill scarce; do
			# shellcheck disable=SC2086 # two words or none
			netbsd variant $variant $vm_headers
			cp "$netbsd_work/dm-$variant.kmod" "$stage"
		done
		# shellcheck disable=SC2086 # as above
		netbsd module $vm_headers
		cp "$netbsd_work/dm.kmod" "$stage"
	fi
}

# vm_measure PART...: the results are what "build.sh bench --keep netbsd" puts into docs/bench.
vm_measure() {
	mv "$stage/dm.kmod" "$stage/ours.kmod"
	[ -z "$vm_theirs" ] || cp "$vm_theirs" "$stage/theirs.kmod"
	[ -z "$vm_cgdconfig" ] || cp "$vm_cgdconfig" "$stage/cgdconfig"
	cargo build --release --quiet --package dm-count
	# shellcheck disable=SC2086 # lists of words
	exec python3 tests/bench/netbsd/run.py $vm_source --stage "$stage" \
		--work "$top/target/vm/$vm_name-bench" --plugin "$top/target/release/libdm_count.so" \
		$vm_rest "$top/target/bench" "$@"
}

vm_main() {
	vm_source='' vm_headers='' vm_kernel='' vm_driver=ours vm_name=''
	vm_rest='' vm_bench='' vm_theirs='' vm_cgdconfig=''
	while [ $# -gt 0 ]; do
		case $1 in
		--release | --image) vm_source="$1 $2" vm_name=$(printf %s "$2" | cksum | cut -d' ' -f1) ;;
		--src | --netbsd | --include) vm_headers="$1 $2" ;;
		--kernel) vm_kernel=$2 vm_rest="$vm_rest --kernel" ;;
		--bench)
			vm_bench=yes
			shift
			continue
			;;
		--theirs) vm_theirs=$2 ;;
		--cgdconfig) vm_cgdconfig=$2 ;;
		--driver) vm_driver=$2 vm_rest="$vm_rest $1 $2" ;;
		--command) break ;;
		--*) vm_rest="$vm_rest $1 $2" ;;
		*) break ;;
		esac
		shift 2
	done
	[ -n "$vm_source" ] || {
		vm_usage
		vm_skip "no NetBSD release and no image was given"
	}
	vm_need
	vm_stage
	[ -z "$vm_bench" ] || vm_measure "$@"
	# shellcheck disable=SC2086 # lists of words
	exec python3 tests/vm/run.py $vm_source --stage "$stage" --work "$top/target/vm/$vm_name" \
		$vm_rest "$@"
}
