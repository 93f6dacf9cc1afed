//! raid: parameters, what it prints, where sectors lie, superblocks and bitmaps.

use dm::kern::disk::Op;
use dm_play::images;
use dm_play::pattern::fill;
use dm_protocol::Errno;
use dm_tests::raid::{RAID1, Set};
use dm_tests::snapshot::lines;
use dm_tests::until;

#[test]
fn table_status_and_metadata_are_linuxs() {
    let set = Set::new(2);
    set.data[0].set_bytes(0, &fill(1, 0, 2048));
    set.data[1].set_bytes(0, &fill(2, 0, 2048));
    let device = set.create(2048, RAID1, &[]);
    set.idle();
    until("two events", || set.event() == 2);
    let (b, c) = (set.data[0].devno(), set.data[1].devno());
    let (d, e) = (set.meta[0].devno(), set.meta[1].devno());
    let table = format!("0 2048 raid raid1 3 0 region_size 64 2 {d} {b} {e} {c}");
    assert_eq!(lines(&set.world, "r", false), [table]);
    assert_eq!(set.status(), "0 2048 raid raid1 2 AA 2048/2048 idle 0 0 -");
    assert!(set.data[1].bytes() == fill(1, 0, 2048), "the first member counts");
    device.write(0, &fill(3, 0, 2048)).expect("a write");
    assert!(set.data[0].bytes() == set.data[1].bytes());
    set.remove(device);
    for (number, meta) in set.meta.iter().enumerate() {
        let bytes = meta.bytes();
        let mut block = vec![0; 4096];
        block[..16].copy_from_slice(&[
            b'D',
            b'm',
            b'R',
            b'd',
            1,
            0,
            0,
            0,
            2,
            0,
            0,
            0,
            number as u8,
            0,
            0,
            0,
        ]);
        block[16..24].copy_from_slice(&bytes[16..24]);
        block[32..48].fill(0xff);
        block[48] = 1;
        block[64..72].fill(0xff);
        block[72] = 1;
        block[88..92].copy_from_slice(&[0, 8, 0, 0]);
        block[112..116].copy_from_slice(&[0, 8, 0, 0]);
        assert!(bytes[..4096] == block, "superblock {number}: {:x?}", &bytes[..160]);
        let mut bitmap = vec![0; 256];
        bitmap[..8].copy_from_slice(b"bitm\x04\0\0\0");
        bitmap[24..40].copy_from_slice(&bytes[4096 + 24..4096 + 40]);
        bitmap[40..42].copy_from_slice(&[0, 8]);
        bitmap[52..58].copy_from_slice(&[0, 0x80, 0, 0, 5, 0]);
        bitmap.extend([0; 4]);
        bitmap.resize(512, 0xff);
        bitmap.resize(61440, 0);
        assert!(bytes[4096..] == bitmap, "bitmap {number}: {:x?}", &bytes[4096..4096 + 300]);
        let events = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8"));
        assert_eq!(events(16), events(4096 + 24), "the bitmap is as new as the superblock");
    }
}

#[test]
fn what_linux_wrote_is_rewritten_as_it_was() {
    for (keep, words, length) in [
        ("raid1", "raid1 3 0 region_size 64", 1024),
        ("raid10", "raid10 7 32 region_size 64 raid10_copies 2 raid10_format near", 1024),
    ] {
        let set = Set::new(2);
        let kept = ["a", "b", "m", "n"].map(|disk| images::load(&format!("{keep}-{disk}")));
        for (disk, bytes) in set.data.iter().chain(&set.meta).zip(&kept) {
            disk.set_bytes(0, bytes);
        }
        let writes = set.data[0].count(Op::Write);
        let device = set.create(length, words, &[]);
        set.idle();
        assert!(device.read(0, length).expect("a read") == fill(2, 0, length));
        until("an event", || set.event() == 1);
        set.remove(device);
        assert_eq!(set.data[0].count(Op::Write), writes, "nothing was copied");
        for (meta, old) in set.meta.iter().zip(&kept[2..]) {
            let mut new = meta.bytes()[..old.len()].to_vec();
            assert_ne!(new[16..24], old[16..24], "events go on");
            // Events of the superblock, of the bitmap, and of when it was cleared.
            for at in [16..24, 4096 + 24..4096 + 40] {
                new[at.clone()].copy_from_slice(&old[at]);
            }
            assert!(new == *old, "{keep}");
        }
    }
}

/// For each run of a member's sectors, where it begins, and the sectors of the set that its
/// chunks begin with.
type Places = &'static [(u64, &'static [u64])];

/// Where Linux was seen to put chunks of 64 sectors, on each member.
const PLACES: &[(&str, u64, &[Places])] = &[
    (
        "raid10 3 64 region_size 64",
        3072,
        &[
            &[(0, &[0, 64, 192, 256, 384])],
            &[(0, &[0, 128, 192, 320, 384])],
            &[(0, &[64, 128, 256, 320, 448])],
        ],
    ),
    (
        "raid10 3 64 raid10_format far",
        2048,
        &[&[(0, &[0, 128, 256]), (1024, &[64, 192])], &[(0, &[64, 192]), (1024, &[0, 128])]],
    ),
    (
        "raid10 3 64 raid10_format far",
        3072,
        &[
            &[(0, &[0, 192, 384]), (1024, &[128, 320])],
            &[(0, &[64, 256]), (1024, &[0, 192])],
            &[(0, &[128, 320]), (1024, &[64, 256])],
        ],
    ),
    (
        "raid10 3 64 raid10_format far",
        4096,
        &[
            &[(0, &[0, 256, 512]), (1024, &[64, 320])],
            &[(0, &[64, 320]), (1024, &[0, 256])],
            &[(0, &[128, 384]), (1024, &[192, 448])],
            &[(0, &[192, 448]), (1024, &[128, 384])],
        ],
    ),
    (
        "raid10 4 64 raid10_use_near_sets raid10_format far",
        4096,
        &[
            &[(0, &[0, 256]), (1024, &[192, 448])],
            &[(0, &[64, 320]), (1024, &[0, 256])],
            &[(0, &[128, 384]), (1024, &[64, 320])],
            &[(0, &[192, 448]), (1024, &[128, 384])],
        ],
    ),
    (
        "raid10 3 64 raid10_format offset",
        3072,
        &[
            &[(0, &[0, 128, 192, 320, 384])],
            &[(0, &[64, 0, 256, 192, 448])],
            &[(0, &[128, 64, 320, 256, 512])],
        ],
    ),
    (
        "raid10 3 64 raid10_format offset",
        4096,
        &[
            &[(0, &[0, 64, 256, 320, 512])],
            &[(0, &[64, 0, 320, 256, 576])],
            &[(0, &[128, 192, 384, 448, 640])],
            &[(0, &[192, 128, 448, 384, 704])],
        ],
    ),
    ("raid10 3 64 raid10_copies 3", 2048, &[&[(0, &[0, 64])], &[(0, &[0, 64])], &[(0, &[0, 64])]]),
    ("raid0 1 64", 4096, &[&[(0, &[0, 128, 256])], &[(0, &[64, 192, 320])]]),
];

#[test]
fn chunks_and_their_copies_lie_where_linux_puts_them() {
    for (words, length, members) in PLACES {
        let set = Set::new(members.len());
        let device = set.create(*length, words, &[]);
        device.write(0, &fill(1, 0, *length)).expect("a write");
        for (member, places) in members.iter().enumerate() {
            let bytes = set.data[member].bytes();
            for (from, chunks) in *places {
                for (nr, chunk) in chunks.iter().enumerate() {
                    let at = (*from as usize + nr * 64) * 512;
                    let found = bytes[at..at + 64 * 512] == fill(1, *chunk, 64)[..];
                    assert!(found, "{words}, {length}: member {member} at {}", at / 512);
                }
            }
        }
        assert!(device.read(0, *length).expect("a read") == fill(1, 0, *length));
    }
}

#[test]
fn a_set_reads_and_writes_without_any_member_that_has_copies() {
    for (words, members, length) in [
        ("raid1 1 0", 3, 2048),
        ("raid10 1 64", 3, 3072),
        ("raid10 3 64 raid10_format far", 4, 4096),
        ("raid10 3 64 raid10_format offset", 3, 3072),
    ] {
        let set = Set::new(members);
        let device = set.create(length, words, &[]);
        device.write(0, &fill(1, 0, length)).expect("a write");
        set.idle();
        set.remove(device);
        for missing in 0..members {
            let stream = missing as u8 + 2;
            let device = set.create(length, words, &[missing]);
            let health: String =
                (0..members).map(|m| if m == missing { '-' } else { 'A' }).collect();
            let expected = format!(" {members} {health} {length}/{length} idle ");
            assert!(set.status().contains(&expected), "{words}: {}", set.status());
            assert!(device.read(0, length).expect("a read") == fill(stream - 1, 0, length));
            device.write(0, &fill(stream, 0, length)).expect("a write");
            assert!(device.read(0, length).expect("a read") == fill(stream, 0, length));
            set.remove(device);
            let device = set.create(length, words, &[]);
            set.idle();
            assert!(set.status().contains(&format!(" {members} {} ", "A".repeat(members))));
            assert!(device.read(0, length).expect("a read") == fill(stream, 0, length));
            set.remove(device);
            // The one that was missing is whole again: it alone serves.
            let others: Vec<usize> = match words {
                "raid1 1 0" => (0..members).filter(|other| *other != missing).collect(),
                _ => Vec::new(),
            };
            let device = set.create(length, words, &others);
            assert!(device.read(0, length).expect("a read") == fill(stream, 0, length));
            set.remove(device);
            let device = set.create(length, words, &[]);
            set.idle();
            set.remove(device);
        }
    }
}

#[test]
fn raid0_puts_down_who_belongs_together() {
    let set = Set::new(2);
    let device = set.create(4096, "raid0 1 64", &[]);
    device.write(0, &fill(5, 0, 4096)).expect("a write");
    assert_eq!(set.status(), "0 4096 raid raid0 2 AA 2048/2048 idle 0 0 -");
    assert_eq!(set.event(), 0);
    assert_eq!(set.world.say("r", "check").expect_err("no copies").errno, Errno::EINVAL);
    set.data[1].break_sectors(0..2048, Errno::EIO);
    assert_eq!(device.read(0, 4096), Err(Errno::EIO));
    assert_eq!(set.status(), "0 4096 raid raid0 2 AD 2048/2048 idle 0 0 -");
    assert_eq!(set.event(), 1);
    set.data[1].mend();
    set.remove(device);
    for (number, meta) in set.meta.iter().enumerate() {
        let bytes = meta.bytes();
        assert_eq!(
            bytes[..20],
            [b'D', b'm', b'R', b'd', 1, 0, 0, 0, 2, 0, 0, 0, number as u8, 0, 0, 0, 1, 0, 0, 0]
        );
        assert_eq!((bytes[56], bytes[80], &bytes[88..92]), (0x40, 0x40, &[0, 16, 0, 0][..]));
        assert!(bytes[512..].iter().all(|byte| *byte == 0), "no bitmap");
    }
    let device = set.create(4096, "raid0 1 64", &[]);
    assert!(device.read(0, 4096).expect("a read") == fill(5, 0, 4096));
    set.remove(device);
}
