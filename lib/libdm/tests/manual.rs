//! The example of libdm(3), word by word, on a driver in memory.

mod model;

/// The library as the example finds it, with a driver.
mod libdm {
    pub use ::libdm::{Device, Load, NewDevice, Result, SegmentSpec};

    pub struct Dm;

    impl Dm {
        pub fn open() -> Result<::libdm::Dm<crate::model::Model>> {
            Ok(::libdm::Dm::new(crate::model::Model::default()))
        }
    }
}

fn example() -> libdm::Result<::libdm::Info> {
    use libdm::{Device, Dm, Load, NewDevice, SegmentSpec};

    let dm = Dm::open()?;
    dm.create(&NewDevice::named("vol0")?)?;
    let vol0 = Device::from("vol0");
    let table = [SegmentSpec::new(0, 2048, "linear", "/dev/vdb 0")];
    dm.reload(&vol0, &table, Load::default())?;
    dm.resume(&vol0, Default::default())?;
    dm.info(&vol0, Default::default())
}

#[test]
fn the_example_of_the_manual_makes_a_live_device() {
    let info = example().expect("it works");
    assert!(info.live_table && !info.suspended);
    assert_eq!((info.name.as_str(), info.target_count), ("vol0", 1));
    let manual = include_str!("../../../share/man/man3/libdm.3");
    let (_, display) = manual.split_once(".Bd -literal\n").expect("an example");
    let (display, _) = display.split_once(".Ed").expect("its end");
    // The driver in memory knows other disks.
    let display = display.replace("/dev/wd1d", "/dev/vdb");
    let lines = display.lines().map(str::trim).filter(|line| !line.is_empty());
    let here: Vec<_> = include_str!("manual.rs").lines().map(str::trim).collect();
    let mut at = 0;
    for line in lines {
        let found = here[at..].iter().position(|other| *other == line);
        at += found.unwrap_or_else(|| panic!("not tried here, or not in this order: {line}")) + 1;
    }
}
