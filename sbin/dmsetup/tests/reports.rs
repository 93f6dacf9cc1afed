//! Columns, as LVM2's dmsetup prints them.

mod shell;

use shell::Shell;

fn with_stack() -> Shell {
    let shell = Shell::default();
    shell.ok("create base --uuid U --table '0 64 linear /dev/vdb 0'");
    shell.ok("create a-top -r --table '0 8 linear /dev/mapper/base 0'");
    shell.ok("create b-top --table '0 8 linear /dev/mapper/base 8'");
    shell.ok("suspend b-top");
    shell.ok("reload b-top --table '0 8 zero'");
    shell
}

#[test]
fn fields_of_every_kind_have_their_values() {
    let shell = with_stack();
    let fields = [
        ("name,attr", "a-top:L--r\nb-top:LIsw\nbase:L--w\n"),
        ("name,tables_loaded", "a-top:Live\nb-top:Both\nbase:Live\n"),
        ("suspended,readonly", "Active:Read-only\nSuspended:Writeable\nActive:Writeable\n"),
        ("devno,blkdevname", "253:1:dm-1\n253:2:dm-2\n253:0:dm-0\n"),
        ("device_count,devnos_used", "1:253:0\n1:253:0\n1:254:16\n"),
        ("blkdevs_used,devs_used", "dm-0:base\ndm-0:base\nvdb:\n"),
        ("device_ref_count,names_using_dev", "0:\n0:\n2:a-top,b-top\n"),
        ("devnos_using_dev", "\n\n253:1,253:2\n"),
        ("subsystem,vg_name", ":\n:\n:\n"),
        ("read_ahead,uuid,open,segments,events", "0::0:1:0\n0::0:1:0\n0:U:2:1:0\n"),
    ];
    for (fields, expected) in fields {
        let line = format!("info -c --noheadings -o {fields}");
        assert_eq!(shell.ok(&line), expected, "{fields}");
    }
}

#[test]
fn all_stands_for_the_fields_of_a_section() {
    let shell = with_stack();
    let first = |line: &str| shell.ok(line).lines().next().expect("headings").to_string();
    assert_eq!(
        first("info -c -o deps_all,tree_all base"),
        "#Devs DevNosUsed       BlkDevNamesUsed  DevNamesUsed     #Refs RefNames    RefDevNos  "
    );
    assert!(first("info -c -o all base").ends_with("Subsys VG   LV   LVLayer"));
    assert!(first("info -c -o all base").starts_with("Name             MangledName"));
    assert!(first("info -c -o +device_count base").ends_with("#Devs"));
}

#[test]
fn names_of_devices_are_split_when_their_uuid_says_whose_they_are() {
    let shell = Shell::default();
    shell.ok("create vg0-lv0 -u LVM-123 --table '0 8 zero'");
    shell.ok("create vg0-other -u CRYPT-1 --table '0 8 zero'");
    assert_eq!(shell.ok("info -c --noheadings -o splitname_all"), "LVM:vg0:lv0:\nCRYPT:::\n");
}

#[test]
fn rows_are_sorted_by_keys() {
    let shell = with_stack();
    for (keys, expected) in [
        ("minor", "base\na-top\nb-top\n"),
        ("-minor", "b-top\na-top\nbase\n"),
        ("-suspended,-name", "b-top\nbase\na-top\n"),
        ("+attr,name", "a-top\nbase\nb-top\n"),
    ] {
        assert_eq!(
            shell.ok(&format!("info -c --noheadings -o name -O {keys}")),
            expected,
            "{keys}"
        );
    }
    let output = shell.run("info -c --noheadings -o name -O minor,-minor");
    assert_eq!(output.out, "base\na-top\nb-top\n");
    assert_eq!(output.err, "dm_report: Ignoring duplicate sort field: minor.\n");
}

#[test]
fn rows_are_selected() {
    let shell = with_stack();
    for (selection, expected) in [
        ("open>0", "base\n"),
        ("open=0 && suspended=Active", "a-top\n"),
        ("name=~top$", "a-top\nb-top\n"),
        ("name!~\"top$\" || minor>=2", "b-top\nbase\n"),
        ("!(name=base), minor<2", "a-top\n"),
        ("uuid=", "a-top\nb-top\n"),
        ("device_ref_count!=0", "base\n"),
        ("name=nosuch", ""),
    ] {
        let line = format!("info -c --noheadings -o name -S '{selection}'");
        assert_eq!(shell.ok(&line), expected, "{selection}");
    }
}

#[test]
fn a_wrong_selection_is_explained() {
    let shell = with_stack();
    for (selection, why) in [
        (
            "open>x",
            "Failed to parse numeric value for selection field open.\n\
                    Selection syntax error at 'open>x'.\n\
                    Use 'help' for selection to get more help.\n",
        ),
        ("open=~1", "dm_report: incompatible comparison type for selection field open\n"),
        ("(open=1", "Syntax error: right parenthesis expected at ''\n"),
        ("! open=1", "Syntax error: left parenthesis expected at ' open=1'\n"),
        (
            "open=1 open=2",
            "Expecting logical operator\nSelection syntax error at 'open=2'.\n\
                           Use 'help' for selection to get more help.\n",
        ),
        (
            "open=1 &&",
            "Expecting field name\nSelection syntax error at ''.\n\
                       Use 'help' for selection to get more help.\n",
        ),
    ] {
        let output = shell.run(&format!("info -c -S '{selection}'"));
        assert_eq!((output.err.as_str(), output.status), (why, 1), "{selection}");
    }
    let unknown = shell.run("info -c -S nosuch=1").err;
    assert!(unknown.starts_with("Mapped Device Name Fields\n"), "{unknown}");
    assert!(unknown.contains("Unrecognised selection field: nosuch\n"), "{unknown}");
    assert!(!unknown.contains("Selection operands"), "{unknown}");
    for selection in ["open%1", "name>1", "open since 1"] {
        let wrong = shell.run(&format!("info -c -S '{selection}'")).err;
        assert!(wrong.starts_with("Selection operands\n"), "{wrong}");
        assert!(wrong.contains(&format!("Selection syntax error at '{selection}'.\n")), "{wrong}");
    }
    let help = shell.run("info -c -S help");
    assert_eq!(help.status, 0);
    assert!(help.err.contains("Mapped Device Name Fields\n"), "{}", help.err);
    assert!(help.err.contains("Selection operands\n"), "{}", help.err);
}

#[test]
fn unknown_fields_are_answered_with_the_known_ones() {
    let output = Shell::default().run("info -c -o name,nosuch");
    assert!(output.err.ends_with("\nUnrecognised field: nosuch\n"), "{}", output.err);
    assert_eq!(output.status, 1);
    let output = Shell::default().run("info -c -o name,");
    assert!(output.err.ends_with("\nUnrecognised field: \n"), "{}", output.err);
    let output = Shell::default().run("info -c -O nosuch");
    assert!(output.err.ends_with("\ndm_report: Unrecognised field: nosuch\n"), "{}", output.err);
    assert_eq!(Shell::default().run("info -c -o help").status, 0);
}

#[test]
fn rows_come_in_every_form() {
    let shell = Shell::default();
    for (options, expected) in [
        ("", "VG   LV   LVLayer\nvg0  lv0         \n"),
        ("--noheadings", "vg0:lv0:\n"),
        ("--separator :", "VG:LV:LVLayer\nvg0:lv0:\n"),
        ("--separator ''", "VGLVLVLayer\nvg0lv0\n"),
        ("--nameprefixes", "VG LV LVLayer\nDM_VG_NAME='vg0' DM_LV_NAME='lv0' DM_LV_LAYER=''\n"),
        ("--nameprefixes --unquoted --noheadings", "DM_VG_NAME=vg0:DM_LV_NAME=lv0:DM_LV_LAYER=\n"),
        ("--rows", "VG vg0\nLV lv0\nLVLayer \n"),
        ("--rows --noheadings", "vg0\nlv0\n\n"),
        ("--unbuffered", "VG   LV   LVLayer\nvg0  lv0         \n"),
        ("-o +subsystem", "VG   LV   LVLayer Subsys\nvg0  lv0          LVM   \n"),
        ("-o ,lv_name,,vg_name", "LV   VG  \nlv0  vg0 \n"),
        ("-o lvname,VG_NAME", "LV   VG  \nlv0  vg0 \n"),
        ("-o splitname_all", "Subsys VG   LV   LVLayer\nLVM    vg0  lv0         \n"),
        ("-o+selected -S lv_name=x", "VG   LV   LVLayer Selected\nvg0  lv0                 0\n"),
    ] {
        assert_eq!(shell.ok(&format!("splitname vg0-lv0 {options}")), expected, "{options}");
    }
}

#[test]
fn names_of_volumes_are_split_at_single_dashes() {
    let shell = Shell::default();
    for (name, expected) in [
        ("vg0-lv0--x-real", "vg0:lv0-x:real\n"),
        ("a--b-c----d-e", "a-b:c--d:e\n"),
        ("nodash", "nodash::\n"),
        ("a-b-c-d", "a:b:c\n"),
        ("a-", "a-::\n"),
        ("-", "-::\n"),
        ("a---b", "a-:b:\n"),
    ] {
        assert_eq!(shell.ok(&format!("splitname --noheadings -- {name}")), expected, "{name}");
    }
    assert_eq!(shell.ok("splitname --noheadings vg-lv OTHER"), "::\n");
}
