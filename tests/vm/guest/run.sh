#!/bin/sh
# Runs cases of the test programs in this folder: run.sh [program[:case]] ...
# One line each: "program:case passed", "... failed: why" or "... skipped: why".
cd "$(dirname "$0")" || exit 1
here=$(pwd)
# What a shell says of the processes it ends, and atf-sh of who runs it, is no news.
exec 2>/dev/null
export __RUNNING_INSIDE_ATF_RUN=internal-yes-value
[ $# -gt 0 ] || set -- t_*.sh
work=${DM_WORK:-/tmp/dm-work}
bad=0

# limited SECONDS COMMAND...: ends it when the time is over.
limited() {
	seconds=$1
	shift
	"$@" &
	child=$!
	(sleep "$seconds" && kill -9 $child) >/dev/null 2>&1 &
	watch=$!
	wait $child
	status=$?
	kill $watch >/dev/null 2>&1
	return $status
}

one() { # one PROGRAM CASE
	rm -rf "$work" && mkdir -p "$work" && cd "$work" || exit 1
	limit=$("$here/$1" -s "$here" -l | awk -v want="$2" '
		$1 == "ident:" { here = $2 == want } here && $1 == "timeout:" { print $2 }')
	echo "begin ${1%.sh}:$2"
	limited "${limit:-300}" "$here/$1" -s "$here" -r "$work/result" "$2" >"$work/log" 2>&1
	if [ -s "$work/result" ]; then
		result=$(cat "$work/result")
	else
		result="failed: ended without a result, or its time was over"
	fi
	limited 120 "$here/$1" -s "$here" "$2:cleanup" >>"$work/log" 2>&1
	case $result in
	passed* | skipped*) ;;
	*)
		bad=1
		sed 's/^/	/' "$work/log"
		;;
	esac
	echo "${1%.sh}:$2 $result"
	cd "$here" || exit 1
}

for wanted; do
	program=${wanted%%:*}
	program=${program%.sh}.sh
	case $wanted in
	*:*) one "$program" "${wanted#*:}" ;;
	*)
		for case in $("./$program" -s "$here" -l | sed -n 's/^ident: //p'); do
			one "$program" "$case"
		done
		;;
	esac
done
exit $bad
