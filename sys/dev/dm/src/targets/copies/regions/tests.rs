//! Regions beside a plain model of them.

use super::{Regions, Swept};
use alloc::vec::Vec;

/// What one region should be.
#[derive(Clone, Copy, Default)]
struct Plain {
    marked: bool,
    open: bool,
    stale: bool,
    absent: bool,
    pending: u16,
}

/// Numbers that look random.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn count(of: &[Plain], is: impl Fn(&Plain) -> bool) -> u64 {
    of.iter().filter(|plain| is(plain)).count() as u64
}

fn check(regions: &Regions, plain: &[Plain]) {
    assert_eq!(regions.marked(), count(plain, |region| region.marked));
    assert_eq!(regions.stale(), count(plain, |region| region.stale));
    assert_eq!(regions.unsynced(), count(plain, |region| region.stale || region.absent));
    for (number, one) in (0..).zip(plain) {
        assert_eq!(regions.is_marked(number), one.marked, "{number}");
        assert_eq!(regions.is_open(number), one.open, "{number}");
        assert_eq!(regions.is_stale(number), one.stale, "{number}");
        assert_eq!(regions.is_absent(number), one.absent, "{number}");
        assert_eq!(regions.is_busy(number), one.pending != 0, "{number}");
    }
    let first = |is: fn(&Plain) -> bool| plain.iter().position(is).map(|at| at as u64);
    assert_eq!(regions.next_marked(0), first(|region| region.marked));
    assert_eq!(regions.next_unsynced(0), first(|region| region.stale || region.absent));
    assert_eq!(regions.next_absent(plain.len() as u64), None);
}

/// Takes back marks as the thread does, and says what must have become of it.
fn sweep(regions: &mut Regions, plain: &mut [Plain]) {
    let mut from = 0;
    while let Swept::Upto(next) = regions.close_idle(from, true) {
        from = next;
    }
    let mut next = 0;
    while let Some(region) = regions.unmark_closed(next) {
        next = region;
    }
    for one in plain.iter_mut().filter(|one| one.marked && one.pending == 0) {
        if !one.stale && !one.absent {
            (one.marked, one.open) = (false, false);
        }
    }
}

fn change(regions: &mut Regions, plain: &mut [Plain], draws: &mut Draws) {
    let number = draws.below(plain.len() as u64);
    let Some(one) = plain.get_mut(number as usize) else { return };
    match draws.below(12) {
        0..=3 => {
            regions.mark(number);
            regions.open(number);
            assert!(regions.enter(number));
            (one.marked, one.open) = (true, true);
            one.pending += 1;
        }
        4..=6 if one.pending != 0 => {
            one.pending -= 1;
            assert_eq!(regions.leave(number), one.pending == 0);
        }
        7 => {
            one.stale = !one.stale;
            regions.set_stale(number, one.stale);
        }
        8 => {
            one.absent = !one.absent;
            regions.set_absent(number, one.absent);
        }
        9 => {
            regions.lose();
            plain.iter_mut().for_each(|one| one.absent |= one.marked);
        }
        10 => sweep(regions, plain),
        11 if draws.below(8) == 0 => {
            let on = draws.below(2) == 0;
            regions.fill_absent(on);
            regions.fill_stale(!on);
            plain.iter_mut().for_each(|one| (one.absent, one.stale) = (on, !on));
        }
        _ => {}
    }
}

#[test]
fn regions_are_as_their_model() {
    for many in [1_u64, 63, 64, 65, 200] {
        let Ok(mut regions) = Regions::new(many * 16 - 3, 16) else { panic!("no memory") };
        let mut plain: Vec<Plain> = (0..many).map(|_| Plain::default()).collect();
        let mut draws = Draws(many);
        for _ in 0..if cfg!(miri) { 60 } else { 2000 } {
            change(&mut regions, &mut plain, &mut draws);
            check(&regions, &plain);
        }
    }
}

#[test]
fn the_last_region_may_be_short_and_no_other_is_there() {
    let Ok(regions) = Regions::new(45, 16) else { panic!("no memory") };
    assert_eq!(regions.count(), 3);
    assert_eq!((regions.of(44), regions.start(2), regions.end(2)), (2, 32, 45));
    assert_eq!((regions.end(1), regions.start_or_end(3)), (32, 45));
    assert!(!regions.is_marked(3) && !regions.is_busy(u64::MAX));
}
