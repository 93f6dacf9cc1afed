use super::*;
use alloc::collections::BTreeMap;

/// The same as it should be.
#[derive(Default)]
struct Model(BTreeMap<u64, u64>);

impl Model {
    fn run(&self, chunk: u64, most: u64) -> Run {
        let first = self.0.get(&chunk).copied();
        let same = |at: u64| match (first, self.0.get(&at)) {
            (Some(first), Some(new)) => *new == first + (at - chunk),
            (None, None) => true,
            _ => false,
        };
        let count = (chunk..chunk + most).take_while(|at| same(*at)).count() as u64;
        match first {
            Some(new) => Run::Mapped { new, count },
            None => Run::Free { count },
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % end
    }
}

fn check(table: &Exceptions, model: &Model, chunk: u64, most: u64) {
    assert_eq!(table.run(chunk, most), model.run(chunk, most), "{chunk} + {most}");
    assert_eq!(table.copy_of(chunk), model.0.get(&chunk).copied());
}

#[test]
fn a_table_is_as_its_model_whatever_is_inserted_and_removed() {
    let steps = if cfg!(miri) { 600 } else { 15_000 };
    for seed in 1..if cfg!(miri) { 2 } else { 6 } {
        let (mut random, mut model) = (Random(seed), Model::default());
        let mut table = Exceptions::new().expect("memory");
        let span = [64, 5_000, 1 << 40][seed as usize % 3];
        let mut new = 2;
        for _ in 0..steps {
            let (old, count) = (random.below(span), 1 + random.below(20));
            if random.below(3) == 0 {
                for at in (old..old + count).rev() {
                    table.reserve(1).expect("memory");
                    assert!(table.remove(at));
                    model.0.remove(&at);
                }
            } else {
                for at in old..old + count {
                    table.reserve(1).expect("memory");
                    assert_eq!(table.insert(at, new), model.0.insert(at, new).is_none());
                    model.0.insert(at, table.copy_of(at).expect("it is there"));
                    new += 1;
                }
            }
            check(&table, &model, old.saturating_sub(random.below(8)), 1 + random.below(64));
        }
        assert_eq!(table.chunks(), model.0.len() as u64);
        for (old, new) in &model.0 {
            assert_eq!(table.copy_of(*old), Some(*new));
        }
    }
}

#[test]
fn runs_need_one_node_for_a_group() {
    let mut table = Exceptions::new().expect("memory");
    let before = table.room();
    for chunk in 0..1600 {
        assert!(table.insert(chunk, chunk + 7));
    }
    assert_eq!(before - table.room(), 100);
    assert_eq!(table.run(3, 5000), Run::Mapped { new: 10, count: 1597 });
    assert_eq!(table.run(1600, 5000), Run::Free { count: 5000 });
}

#[test]
fn a_full_table_refuses_and_keeps_what_it_has() {
    let mut table = Exceptions::new().expect("memory");
    let room = table.room();
    for nr in 0..room {
        assert!(table.insert(nr * 32, nr), "{nr}");
    }
    assert_eq!(table.room(), 0);
    assert!(!table.insert(5, 5) && table.copy_of(5).is_none());
    assert!(table.insert(1, 1), "joins the first");
    assert_eq!(table.chunks(), room + 1);
    let growth = Growth::new(table.wants()).expect("memory");
    drop(table.grow(growth));
    assert!(table.insert(5, 5));
    for nr in 0..room {
        assert_eq!(table.copy_of(nr * 32), Some(nr));
    }
}

#[test]
fn chains_stay_short() {
    let mut table = Exceptions::new().expect("memory");
    let count = if cfg!(miri) { 3000 } else { 30_000 };
    for nr in 0..count {
        table.reserve(1).expect("memory");
        assert!(table.insert(nr * 977, nr));
    }
    let longest = (0..count).map(|nr| table.chain(nr * 977).count()).max();
    assert!(longest < Some(20), "{longest:?}");
}
