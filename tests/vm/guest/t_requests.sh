#!/usr/bin/atf-sh
# shellcheck shell=sh disable=SC1091,SC2086,SC2154
# requests as they are, for what no client sends, and replies as they come
. "$(dirname "$0")/dm.subr"

# words KEY WORD [KEY WORD ...]: keys of text.
words() {
	while [ $# -gt 0 ]; do
		echo "<key>$1</key><string>$2</string>"
		shift 2
	done
}

version() {
	echo "<key>version</key><array>"
	for part; do echo "<integer>$part</integer>"; done
	echo "</array>"
}

ask() { # ask CONTENT: sends it in a dictionary of this protocol; the reply is in the file "reply"
	send "$(version 4 17 0)$1"
}

send() {
	echo "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>$1</dict></plist>" >request
	"$DM_TOOL" raw request >reply 2>why || atf_fail "no reply: $(cat why)"
}

# answer KEY: what the reply has there.
answer() {
	tr '<' '\n' <reply | awk -v key="key>$1" '
		found && /^(integer|string)>/ { sub(/^[a-z]*>/, ""); print; exit }
		$0 == key { found = 1 }'
}

refused() { # refused ERRNO CONTENT: it is answered with that error number and a sentence
	ask "$2"
	same "the error of $(echo "$2" | tr -d '\n\t')" "$(answer errno)" "$1"
	[ -n "$(answer error)" ] || atf_fail "no sentence for $2"
}

EINVAL=22 ENOENT=2 EEXIST=17 EBUSY=16 ENAMETOOLONG=63

one_device() {
	need_tool
	stamp
	make l1 "0 1024 linear $b1 0"
}

untouched() {
	same names "$(names)" l1
	same data "$(sectors $m/rl1 0 1024)" "$(sectors "$r1" 0 1024)"
	same tables "$(info l1 'Tables present')" LIVE
}

new_case what_is_missing_is_told
what_is_missing_is_told_body() {
	one_device
	for command in status deps remove suspend resume clear; do
		refused $ENOENT "$(words command $command name nosuch)"
	done
	refused $ENOENT "$(words command reload name nosuch)<key>cmd_data</key><array/>"
	refused $ENOENT "$(words command rename name nosuch)<key>cmd_data</key><array>
		<string>other</string></array>"
	untouched
}

new_case a_device_is_not_made_twice
a_device_is_not_made_twice_body() {
	one_device
	refused $EEXIST "$(words command create name l1)"
	untouched
}

new_case what_is_open_is_told
what_is_open_is_told_body() {
	one_device
	exec 3<$m/rl1
	refused $EBUSY "$(words command remove name l1)"
	exec 3<&-
	untouched
}

new_case a_device_has_a_name
a_device_has_a_name_body() {
	one_device
	refused $EINVAL "$(words command create)"
	refused $EINVAL "$(words command create uuid SOME-UUID)"
	refused $ENOENT "$(words command resume)"
	untouched
}

new_case names_and_uuids_are_not_cut
names_and_uuids_are_not_cut_body() {
	one_device
	long=$(jot -b x -s '' 128)
	refused $ENAMETOOLONG "$(words command create name $long)"
	refused $ENAMETOOLONG "$(words command create name l2 uuid ${long}x)"
	refused $ENAMETOOLONG "$(words command rename name l1)<key>cmd_data</key><array>
		<string>$long</string></array>"
	untouched
}

new_case a_table_without_lines
a_table_without_lines_body() {
	one_device
	refused $EINVAL "$(words command reload name l1)"
	untouched
}

new_case a_line_without_its_words
a_line_without_its_words_body() {
	one_device
	full="<key>start</key><integer>0</integer><key>length</key><integer>8</integer>
$(words type linear params "$b1 0")"
	for missing in start length type; do
		line=$(echo "$full" | sed "s/<key>$missing</<key>no$missing</")
		refused $EINVAL "$(words command reload name l1)<key>cmd_data</key><array>
			<dict>$line</dict></array>"
	done
	untouched
}

new_case the_second_line_is_refused
the_second_line_is_refused_body() {
	one_device
	line() {
		echo "<dict><key>start</key><integer>$1</integer><key>length</key>
			<integer>8</integer>$(words type $2 params "$b1 0")</dict>"
	}
	refused $EINVAL "$(words command reload name l1)<key>cmd_data</key><array>
		$(line 0 linear)$(line 8 nosuch)</array>"
	dm resume l1
	untouched
}

new_case a_rename_without_a_name
a_rename_without_a_name_body() {
	one_device
	refused $EINVAL "$(words command rename name l1)"
	refused $EINVAL "$(words command rename name l1)<key>cmd_data</key><array/>"
	untouched
}

new_case another_protocol
another_protocol_body() {
	one_device
	for one in "99 0 0" "4 99 0"; do
		send "$(version $one)$(words command remove name l1)"
		untouched
	done
	send "$(version 4)$(words command remove name l1)"
	untouched
	send "$(words command info name l1)"
	same "without a version" "$(answer minor)" "$(info l1 'Major, minor' | sed 's/.*, //')"
}

new_case what_is_no_command
what_is_no_command_body() {
	one_device
	refused $EINVAL ""
	refused $EINVAL "$(words command nosuch name l1)"
	refused $EINVAL "<key>command</key><integer>1</integer>"
	refused $EINVAL "<key>command</key><string>remove</string><key>name</key><array/>"
	untouched
}

new_case a_reply_says_which_device_it_is
a_reply_says_which_device_it_is_body() {
	need_tool
	stamp
	dm create u1 -u TEST-UUID --table "0 1024 linear $b1 0"
	minor=$(info u1 'Major, minor' | sed 's/.*, //')
	ask "$(words command info)<key>minor</key><integer>$minor</integer>"
	same "name by minor" "$(answer name)" u1
	same "uuid by minor" "$(answer uuid)" TEST-UUID
	for command in info suspend resume; do
		ask "$(words command $command uuid TEST-UUID)"
		same "name of $command by uuid" "$(answer name)" u1
		same "minor of $command by uuid" "$(answer minor)" "$minor"
	done
}
