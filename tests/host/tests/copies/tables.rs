//! Every word of a table, replaced by each of those that hurt: what is taken works and prints
//! what loads again, what is refused says why and changes nothing.

use crate::kinds::{KINDS, Set};
use dm_protocol::{Action, Errno, Flags, ReplyBody};
use dm_tests::snapshot::everything;
use dm_tests::{Mode, World};

const EVIL: [&str; 24] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "8",
    "16",
    "63",
    "64",
    "65",
    "4096",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "0x10",
    "-",
    "sync",
    "rebuild",
    "raid10_format",
];

const LENGTHS: [u64; 13] = [
    1,
    7,
    8,
    15,
    16,
    240,
    1 << 22,
    1 << 32,
    (1 << 54) - 8,
    1 << 54,
    (1 << 55) - 1,
    1 << 63,
    u64::MAX,
];

/// Loads a table; true if it is taken. What it prints then is taken, too, and prints the same.
fn takes(world: &World, table: &str) -> bool {
    let before = everything(world);
    if let Err(failure) = world.load("c", table) {
        let about = &failure.message;
        assert!([Errno::EINVAL, Errno::ENOENT].contains(&failure.errno), "{table}: {about}");
        assert!(about.starts_with("segment 0 (sector 0, "), "{table}: {about}");
        assert_eq!(everything(world), before, "{table}");
        return false;
    }
    let shown = shown(world);
    world.load("c", &shown).unwrap_or_else(|why| panic!("{table}: {shown}: {}", why.message));
    assert_eq!(self::shown(world), shown, "{table}");
    world.on("c", Action::Clear).expect("cleared");
    true
}

/// The table that waits for a resume.
fn shown(world: &World) -> String {
    let flags = Flags::EXISTS | Flags::QUERY_INACTIVE_TABLE;
    let reply = world.on_with("c", Action::Table, flags).expect("a table");
    let ReplyBody::Segments(segments) = reply.body else { panic!("not segments") };
    let one = &segments[0];
    format!("{} {} {} {}", one.start, one.length, one.target, one.params.as_str())
}

#[test]
fn every_word_may_be_wrong() {
    for kind in &KINDS {
        let set = Set::new(kind, |_| Mode::Inline);
        set.world.make("c").expect("a device");
        let table = set.table();
        let words: Vec<&str> = table.split(' ').collect();
        let mut taken = 0;
        for at in 3..words.len() {
            for evil in EVIL {
                let mut words = words.clone();
                words[at] = evil;
                taken += u32::from(takes(&set.world, &words.join(" ")));
            }
        }
        assert!(taken > 3, "{}: {taken}", kind.name);
    }
}

/// Members that have no table yet may become of any size.
#[test]
fn every_length_is_taken_or_refused() {
    let world = World::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        world.make(name).expect("a device");
    }
    let mut taken = 0;
    for length in LENGTHS {
        for words in [
            "mirror core 1 16 2 @a 0 @b 0",
            "mirror core 1 1073741824 2 @a 0 @b 1",
            "raid raid1 1 0 2 - @a - @b",
            "raid raid1 3 0 region_size 4194304 2 - @a - @b",
            "raid raid10 1 8 4 - @a - @b - @d - @e",
            "raid raid10 3 8 raid10_format far 4 - @a - @b - @d - @e",
            "raid raid10 3 8 raid10_format offset 3 - @a - @b - @d",
            "raid raid10 3 1073741824 raid10_copies 3 3 - @a - @b - @d",
            "raid raid0 1 8 5 - @a - @b - @d - @e - @f",
        ] {
            let table = format!("0 {length} {}", words.replace('@', "/dev/mapper/"));
            taken += u32::from(takes(&world, &table));
        }
    }
    assert!(taken > 20, "{taken}");
}
