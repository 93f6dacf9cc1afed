#!/bin/sh
# Measures NBD and the files against programs that do the same: run.sh [--quick] RESULT
#
# One linear segment over one file in memory, seen through dmhost and through each peer; fio asks
# all of them in turn, round by round, so that whatever else the machine does meets all alike.
# RESULT gets tab-separated rows: part, name, unit, median, 10 %, 90 %, samples, peer, ratio. Ours
# is compared with the best peer, each peer with ours: the median of the ratios of one round each.
#
#   NBD    nbdkit: nbdkit file --filter=offset; qsd: qemu-storage-daemon, raw with an offset
#   crypt  NBD, encrypted by aes-xts-plain64 with sectors of 512 bytes; large: ours with sectors of
#          4096, linear: ours without a cipher, which are compared like peers but are none;
#          nbdkit-luks: nbdkit --filter=luks; qsd-luks: qemu-storage-daemon, luks
#   files  direct: the file in memory itself, without anything between, which is compared like a
#          peer but is none; passthrough: our own program that passes requests on over the same
#          FUSE library; qsd-fuse: qemu-storage-daemon's FUSE export; nbdfuse: libnbd's nbdfuse on
#          that nbdkit
#
# None of the peers for files maps anything or is a file system of several files, and nbdfuse
# goes through NBD, too.
set -eu

effort=full
if [ "${1:-}" = --quick ]; then
	effort=quick
	shift
fi
result=${1:?usage: run.sh [--quick] RESULT}
mkdir -p "$(dirname "$result")"
case $effort in
quick) rounds=3 seconds=1 ;;
full) rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-2} ;;
esac
dmhost=${DMHOST:-target/release/dmhost}
passthrough=$(dirname "$dmhost")/passthrough
megabytes=200

skip() {
	echo "SKIPPED: fronts: $1" >&2
	[ -z "${DM_SKIP_LOG:-}" ] || echo "fronts: $1" >>"$DM_SKIP_LOG"
}

for program in fio "$dmhost"; do
	if ! command -v "$program" >/dev/null; then
		skip "there is no $program"
		exit 1
	fi
done

memory=/dev/shm
[ -d $memory ] || memory=${TMPDIR:-/tmp}
dir=$(mktemp -d "$memory/dm-fronts.XXXXXX")

finish() {
	umount "$dir/nbdfuse" 2>/dev/null || :
	umount "$dir/passthrough" 2>/dev/null || :
	for file in "$dir"/*.pid; do
		[ -s "$file" ] || continue
		pid=$(cat "$file")
		kill "$pid" 2>/dev/null || continue
		tries=0
		while kill -0 "$pid" 2>/dev/null && [ $tries -lt 50 ]; do
			sleep 0.1
			tries=$((tries + 1))
		done
	done
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

# The offset tells a mapping from a file that is passed on as it is.
head -c $((megabytes + 1))M /dev/urandom >"$dir/image"
sectors=$((megabytes * 2048))

# The key of volumes that are made anew each time.
key=$(printf '%0128d' 7)
crypt="0 $sectors crypt aes-xts-plain64 $key 0 $dir/image 2048"
concise="v,,,rw,0 $sectors linear $dir/image 2048;c,,,rw,$crypt;l,,,rw,$crypt 1 sector_size:4096"
"$dmhost" --dev-dir "$dir/dm" --daemon --pid-file "$dir/dmhost.pid" \
	--concise "$concise" 2>"$dir/dmhost.log"
nbd="ours|nbd+unix:///v?socket=$dir/dm/nbd.sock"
files="ours|$dir/dm/mapper/v"
crypt="ours|nbd+unix:///c?socket=$dir/dm/nbd.sock large|nbd+unix:///l?socket=$dir/dm/nbd.sock"
crypt="$crypt linear|nbd+unix:///v?socket=$dir/dm/nbd.sock"
if [ ! -e "$dir/dm/mapper/v" ]; then
	skip "no FUSE here"
	files=
fi

wait_for() {
	tries=0
	until [ -e "$1" ]; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		sleep 0.05
	done
}

# FRONTS selects parts.
wanted() {
	case " ${FRONTS:-nbd crypt files} " in *" $1 "*) ;; *) return 1 ;; esac
}

luks=
if ! wanted crypt; then
	:
elif command -v qemu-img >/dev/null; then
	luks=$dir/luks
	qemu-img create -q -f luks --object secret,id=s,data=measured \
		-o key-secret=s,iter-time=10,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64 \
		"$luks" ${megabytes}M || {
		skip "qemu-img made no LUKS volume"
		luks=
	}
else
	skip "there is no qemu-img, which makes LUKS volumes"
fi

if command -v nbdkit >/dev/null; then
	nbdkit -U "$dir/nbdkit.sock" -P "$dir/nbdkit.pid" --filter=offset \
		file "$dir/image" offset=1M range=${megabytes}M
	nbd="$nbd nbdkit|nbd+unix:///?socket=$dir/nbdkit.sock"
	[ -z "$luks" ] || {
		nbdkit -U "$dir/nbdkit-luks.sock" -P "$dir/nbdkit-luks.pid" --filter=luks \
			file "$luks" passphrase=measured
		crypt="$crypt nbdkit-luks|nbd+unix:///?socket=$dir/nbdkit-luks.sock"
	}
else
	skip "there is no nbdkit"
fi

if command -v qemu-storage-daemon >/dev/null; then
	head -c ${megabytes}M /dev/zero >"$dir/qsd-fuse"
	set -- --daemonize --pidfile "$dir/qsd.pid" --nbd-server "addr.type=unix,addr.path=$dir/qsd.sock"
	# Each export wants a node of its own.
	for node in nbd ${files:+fuse}; do
		set -- "$@" --blockdev "file,node-name=$node-f,filename=$dir/image,locking=off" --blockdev \
			"raw,node-name=$node,file=$node-f,offset=1048576,size=$((megabytes << 20))"
	done
	set -- "$@" --export nbd,id=e,node-name=nbd,name=v,writable=on
	[ -z "$files" ] ||
		set -- "$@" --export "fuse,id=f,node-name=fuse,mountpoint=$dir/qsd-fuse,writable=on"
	[ -z "$luks" ] || {
		set -- "$@" --object secret,id=s,data=measured \
			--blockdev "file,node-name=luks-f,filename=$luks,locking=off" \
			--blockdev luks,node-name=luks,file=luks-f,key-secret=s \
			--export nbd,id=c,node-name=luks,name=c,writable=on
		crypt="$crypt qsd-luks|nbd+unix:///c?socket=$dir/qsd.sock"
	}
	qemu-storage-daemon "$@"
	wait_for "$dir/qsd.sock"
	nbd="$nbd qsd|nbd+unix:///v?socket=$dir/qsd.sock"
	[ -z "$files" ] || files="$files qsd-fuse|$dir/qsd-fuse"
else
	skip "there is no qemu-storage-daemon"
fi

if [ -n "$files" ]; then
	files="$files direct|$dir/image"
	if [ -x "$passthrough" ]; then
		mkdir "$dir/passthrough"
		# Detached, as the others are: Linux gives what is detached its own share of processors.
		setsid "$passthrough" "$dir/image" 1048576 $((megabytes << 20)) "$dir/passthrough" &
		echo $! >"$dir/passthrough.pid"
		wait_for "$dir/passthrough/file"
		files="$files passthrough|$dir/passthrough/file"
	else
		skip "there is no $passthrough"
	fi
	if command -v nbdfuse >/dev/null && [ -S "$dir/nbdkit.sock" ]; then
		mkdir "$dir/nbdfuse"
		setsid nbdfuse "$dir/nbdfuse" --unix "$dir/nbdkit.sock" &
		echo $! >"$dir/nbdfuse.pid"
		wait_for "$dir/nbdfuse/nbd"
		files="$files nbdfuse|$dir/nbdfuse/nbd"
	fi
fi

# measure KIND TARGET RW SIZE DEPTH: requests a second, or MB a second for 1 MiB requests.
measure() {
	case $1 in
	nbd) set -- "$@" --ioengine=nbd --uri="$2" --iodepth="$5" ;;
	files) set -- "$@" --ioengine=psync --filename="$2" --direct=1 --numjobs="$5" --thread \
		--group_reporting ;;
	esac
	rw=$3 size=$4
	shift 5
	rm -f "$dir/fio"
	fio --name=x "$@" --rw="$rw" --bs="$size" --size=${megabytes}M --time_based \
		--runtime="$seconds" --output-format=terse --output="$dir/fio" >/dev/null 2>&1 || :
	awk -F';' -v size="$size" '/^3;/ {
		iops = $8 > $49 ? $8 : $49
		print size == "1M" ? iops * 1.048576 : iops
	}' "$dir/fio" 2>/dev/null
}

samples=$dir/samples
: >"$samples"
# part KIND PART PEERS WORKLOADS: all in turn, round by round.
part() {
	kind=$1 part=$2 peers=$3
	shift 3
	round=0
	while [ $round -lt "$rounds" ]; do
		for work; do
			# shellcheck disable=SC2086 # the words of a workload
			set_work $work
			for peer in $peers; do
				value=$(measure "$kind" "${peer#*|}" "$rw" "$bs" "$depth")
				[ "${value:-0}" != 0 ] || {
					echo "fronts: nothing from ${peer%%|*}: $work" >&2
					continue
				}
				printf '%s\t%s\t%s\t%s\t%s\n' \
					"$part" "$rw $bs x$depth" "$round" "${peer%%|*}" "$value" >>"$samples"
			done
		done
		round=$((round + 1))
	done
}

set_work() {
	rw=$1 bs=$2 depth=$3
}

# shellcheck disable=SC2086 # each peer is a word
! wanted nbd || part nbd nbd "$nbd" "randread 4k 1" "randwrite 4k 1" "randread 4k 32" "randwrite 4k 32" \
	"read 1M 4" "write 1M 4"
! wanted crypt || part nbd crypt "$crypt" "randread 4k 1" "randwrite 4k 1" "randread 4k 32" \
	"randwrite 4k 32" "read 1M 4" "write 1M 4"
[ -z "$files" ] || ! wanted files ||
	part files files "$files" "randread 4k 1" "randwrite 4k 1" "randread 4k 8" \
		"randwrite 4k 8" "read 1M 1" "write 1M 1"

awk -F'\t' -v OFS='\t' '
function sort(list, count,    i, j, value) {
	for (i = 2; i <= count; i++) {
		value = list[i]
		for (j = i - 1; j >= 1 && list[j] > value; j--) list[j + 1] = list[j]
		list[j + 1] = value
	}
}
function at(list, count, part) {
	return list[int((count - 1) * part + 1.5)]
}
{
	key = $1 OFS $2
	if (!(key in known)) { known[key] = 1; keys[++works] = key }
	if (!((key, $4) in peer)) { peer[key, $4] = 1; names[key] = names[key] " " $4 }
	value[key, $4, $3] = $5 + 0
	if ($3 > last) last = $3
}
# The median of one peer of a piece of work.
function median(key, who,    list, count, round) {
	for (round = 0; round <= last; round++)
		if ((key, who, round) in value) list[++count] = value[key, who, round]
	sort(list, count)
	return at(list, count, 0.5)
}
function ratio(key, who, other,    list, count, round) {
	for (round = 0; round <= last; round++)
		if ((key, who, round) in value && (key, other, round) in value)
			list[++count] = value[key, who, round] / value[key, other, round]
	sort(list, count)
	return count ? sprintf("%.3f", at(list, count, 0.5)) : ""
}
END {
	print "part", "name", "unit", "median", "low", "high", "samples", "peer", "ratio"
	for (w = 1; w <= works; w++) {
		key = keys[w]
		split(key, words, OFS)
		unit = words[2] ~ / 1M / ? "MB/s" : "iops"
		peers = split(names[key], of, " ")
		best = ""
		for (p = 1; p <= peers; p++)
			if (of[p] !~ /^(ours|direct|large|linear)$/ &&
			    (best == "" || median(key, of[p]) > median(key, best))) best = of[p]
		for (p = 1; p <= peers; p++) {
			count = 0
			split("", list)
			for (round = 0; round <= last; round++)
				if ((key, of[p], round) in value) list[++count] = value[key, of[p], round]
			sort(list, count)
			other = of[p] == "ours" ? best : "ours"
			line = words[1] OFS words[2] ", " of[p] OFS unit
			line = line OFS sprintf("%.2f", at(list, count, 0.5))
			line = line OFS sprintf("%.2f", at(list, count, 0.1))
			line = line OFS sprintf("%.2f", at(list, count, 0.9)) OFS count
			print line OFS words[2] ", " other OFS ratio(key, of[p], other)
		}
	}
}' "$samples" >"$result"
awk -F'\t' 'NR > 1 { printf "%-6s %-28s %12s %-5s %s\n", $1, $2, $4, $3, $9 }' "$result"
