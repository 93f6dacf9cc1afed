# Completion of dmsetup(8) for bash, made by `dmsetup completion bash`.
_dmsetup() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        help|create|remove|remove_all|suspend|resume|load|clear|reload|wipe_table|rename|message|ls|info|deps|status|table|wait|mknodes|mangle|target-version|targets|version|setgeometry|splitname) command=$word; break ;;
        esac
    done
    case $prev in
    --manglename) COMPREPLY=($(compgen -W 'none hex auto' -- "$cur")); return ;;
    --readahead) COMPREPLY=($(compgen -W '[+]<sectors> auto none' -- "$cur")); return ;;
    --table) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --select|-S|--exec|--gid|-G|--major|-j|--minor|-m|--mode|-M|--options|-o|--separator|--sort|-O|--target|--timeout|--uid|-U|--udevcookie|--uuid|-u) return ;;
    esac
    case $cur in
    -*) COMPREPLY=($(compgen -W '--readonly -r --checks --columns -c -C --concise --deferred --dry-run --select -S --exec --force -f --gid -G --help -h --inactive --manglename --major -j --minor -m --mode -M --nameprefixes --noflush --noheadings --nolockfs --noopencount --notable -n --noudevrules --noudevsync --options -o --readahead --retry --rows --separator --setuuid --showkeys --sort -O --table --target --timeout --tree --uid -U --udevcookie --uuid -u --unbuffered --unquoted --verbose -v --verifyudev --version --yes -y --addnodeonresume --addnodeoncreate' -- "$cur")); return ;;
    esac
    case $command in
    '') COMPREPLY=($(compgen -W 'help create remove remove_all suspend resume load clear reload wipe_table rename message ls info deps status table wait mknodes mangle target-version targets version setgeometry splitname' -- "$cur")) ;;
    create) COMPREPLY=($(compgen -f -- "$cur")) ;;
    remove|suspend|resume|load|clear|reload|wipe_table|rename|message|info|deps|status|table|wait|mknodes|mangle|setgeometry|splitname)
        COMPREPLY=($(compgen -W "$(dmsetup info -c --noheadings -o mangled_name 2>/dev/null | grep -v ' ')" -- "$cur")) ;;
    esac
}
complete -F _dmsetup dmsetup
