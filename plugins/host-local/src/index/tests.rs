//! The index against a model that is too simple to be wrong.

use super::*;
use crate::range::{Range, RangeSet, RangeSpec, address, bits};
use crate::scratch::{Random, Scratch};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::OpenOptions;

const BOOT: [u8; 16] = [7; 16];

fn set(ranges: &[(&str, &str, &str)]) -> RangeSet {
    let range = |(subnet, start, end): &(&str, &str, &str)| {
        let spec = RangeSpec {
            subnet: subnet.parse().expect("subnet"),
            start: start.parse().ok(),
            end: end.parse().ok(),
            gateway: None,
        };
        Range::new(&spec, "test").expect("range")
    };
    RangeSet::new(ranges.iter().map(range).collect(), "test").expect("set")
}

fn ip(text: &str) -> Bits {
    bits(text.parse().expect("address"))
}

/// What the index promises, said with lists.
struct Model {
    set: RangeSet,
    used: BTreeMap<Bits, u64>,
    freed: VecDeque<Bits>,
    fresh: VecDeque<Bits>,
}

impl Model {
    fn new(set: RangeSet) -> Model {
        let mut fresh = VecDeque::from([set.first()]);
        loop {
            let next = set.next(fresh[fresh.len() - 1]);
            if next == fresh[0] {
                break;
            }
            fresh.push_back(next);
        }
        assert_eq!(fresh.len() as u64, set.usable());
        Model { set, used: BTreeMap::new(), freed: VecDeque::new(), fresh }
    }

    fn choose(&self) -> Option<Bits> {
        self.fresh.front().or(self.freed.front()).copied()
    }

    fn take(&mut self, ip: Bits, owner: u64) {
        match self.fresh.iter().position(|f| *f == ip) {
            // Fresh ones are tried from where the search stood last.
            Some(0) => drop(self.fresh.pop_front()),
            Some(at) => drop(self.fresh.remove(at)),
            None => self.freed.retain(|f| *f != ip),
        }
        assert!(self.used.insert(ip, owner).is_none());
    }

    fn free(&mut self, ip: Bits) {
        self.used.remove(&ip).expect("in use");
        self.freed.push_back(ip);
    }
}

fn reopened(index: &mut Index, scratch: &Scratch) -> Index {
    let path = scratch.path().join("index");
    if index.needs_file() {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .expect("index file");
        index.write_to(file).expect("write");
    } else {
        index.flush().expect("flush");
    }
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("index file");
    let again = Index::open(file).expect("open");
    assert!(again.is_of_boot(&BOOT) && again.is_of_directory(5));
    again
}

/// One random step on one of the sets.
fn step(index: &mut Index, model: &mut Model, random: &mut Random) {
    let (pool, _) = index.pool(&model.set, || None).expect("pool");
    let owner = 1 + random.below(40);
    match random.below(10) {
        0..=3 => {
            let chosen = index.choose(pool, &model.set).expect("choose");
            assert_eq!(chosen.map(address), model.choose().map(address));
            if let Some(ip) = chosen {
                index.set_used(ip, owner, 1, pool).expect("use");
                model.take(ip, owner);
            }
        }
        4 => {
            let mut wish = model.set.first();
            for _ in 0..random.below(30) {
                wish = model.set.next(wish);
            }
            if !model.used.contains_key(&wish) {
                index.set_used(wish, owner, 1, pool).expect("use");
                model.take(wish, owner);
            }
        }
        _ => {
            let nth = random.below(model.used.len().max(1) as u64) as usize;
            if let Some(ip) = model.used.keys().nth(nth).copied() {
                index.set_freed(ip).expect("free");
                model.free(ip);
            }
        }
    }
}

#[test]
fn the_index_behaves_as_the_model_over_random_histories() {
    for seed in 1..=25 {
        let mut random = Random::new(seed);
        let scratch = Scratch::new();
        let mut index = Index::new(0, BOOT, 5);
        let mut models = [
            Model::new(set(&[("10.0.0.0/28", "", "")])),
            Model::new(set(&[
                ("10.1.0.0/24", "10.1.0.250", ""),
                ("10.2.0.0/30", "", ""),
                ("10.3.0.0/24", "10.3.0.9", "10.3.0.12"),
            ])),
            Model::new(set(&[("fd00::/64", "fd00::f0", "fd00::110")])),
        ];
        for _ in 0..600 {
            let which = random.below(3) as usize;
            step(&mut index, &mut models[which], &mut random);
            if random.below(8) == 0 {
                index = reopened(&mut index, &scratch);
            }
        }
        let mut owners: BTreeMap<u64, BTreeSet<Bits>> = BTreeMap::new();
        for (ip, owner) in models.iter().flat_map(|model| &model.used) {
            owners.entry(*owner).or_default().insert(*ip);
            let node = index.find(*ip).expect("find").expect("node");
            assert_eq!((node.state, node.owner), (State::Used, *owner));
        }
        for owner in 1..=40 {
            let found: BTreeSet<_> = index.of_owner(owner).expect("owner").into_iter().collect();
            assert_eq!(found, owners.get(&owner).cloned().unwrap_or_default(), "seed {seed}");
        }
    }
}

#[test]
fn an_address_just_freed_is_the_last_to_come_again() {
    let set = set(&[("10.0.0.0/29", "", "")]);
    let mut index = Index::new(0, BOOT, 5);
    let (pool, _) = index.pool(&set, || None).expect("pool");
    let mut next = || index.choose(pool, &set).expect("choose");
    assert_eq!(next(), Some(ip("10.0.0.2")));
    for last in 2..=6 {
        index.set_used(ip(&format!("10.0.0.{last}")), last, 0, pool).expect("use");
    }
    assert_eq!(index.choose(pool, &set).expect("choose"), None);
    for last in [4, 2, 6] {
        index.set_freed(ip(&format!("10.0.0.{last}"))).expect("free");
    }
    for last in [4, 2, 6] {
        let chosen = index.choose(pool, &set).expect("choose").expect("free address");
        assert_eq!(chosen, ip(&format!("10.0.0.{last}")));
        index.set_used(chosen, 9, 0, pool).expect("use");
    }
}

#[test]
fn what_was_freed_is_forgotten_beyond_a_limit() {
    let set = set(&[("fd00::/64", "", "")]);
    let mut index = Index::new(0, BOOT, 5);
    let (pool, _) = index.pool(&set, || None).expect("pool");
    for n in 0..u64::from(QUEUE_MAX) + 3000 {
        let ip = index.choose(pool, &set).expect("choose").expect("address");
        assert_eq!(ip, set.first() + u128::from(n), "never one that was used before");
        index.set_used(ip, 1, 0, pool).expect("use");
        index.set_freed(ip).expect("free");
    }
    assert_eq!(index.nodes().expect("nodes").len(), QUEUE_MAX as usize);
    assert!(index.head.capacity <= 2 * QUEUE_MAX);
    assert_eq!(index.find(set.first()).expect("find"), None);
}

#[test]
fn a_damaged_file_is_an_error_and_never_an_endless_search() {
    let scratch = Scratch::new();
    let set = set(&[("10.0.0.0/24", "", "")]);
    let mut index = Index::new(0, BOOT, 5);
    let (pool, _) = index.pool(&set, || None).expect("pool");
    for last in 2..200 {
        index.set_used(ip(&format!("10.0.0.{last}")), last % 7, 0, pool).expect("use");
    }
    for last in 2..100 {
        index.set_freed(ip(&format!("10.0.0.{last}"))).expect("free");
    }
    drop(reopened(&mut index, &scratch));
    let path = scratch.path().join("index");
    let good = std::fs::read(&path).expect("read");
    let mut random = Random::new(3);
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..1 + random.below(60) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.below(256) as u8;
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len() as u64) as usize);
        }
        std::fs::write(&path, &bytes).expect("write");
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("file");
        let Ok(mut index) = Index::open(file) else { continue };
        for n in 2..20 {
            let _any = (index.find(ip(&format!("10.0.0.{n}"))), index.of_owner(n % 7));
            let _any = index.set_used(ip(&format!("10.0.0.{n}")), 1, 1, 0);
            let _any = index.set_freed(ip(&format!("10.0.0.{}", 100 + n)));
            let _any = index.pool(&set, || None).and_then(|(p, _)| index.choose(p, &set));
        }
        let _any = (index.drop_unclaimed(), index.nodes());
    }
}

#[test]
fn more_range_sets_than_records_still_never_share_an_address() {
    let mut random = Random::new(11);
    // Windows of one subnet that overlap, as when each pod brings its own ranges.
    let sets: Vec<_> = (0..24)
        .map(|n| {
            let (start, end) = (format!("10.0.0.{}", 2 + n * 2), format!("10.0.0.{}", 12 + n * 2));
            set(&[("10.0.0.0/24", &start, &end)])
        })
        .collect();
    let mut index = Index::new(0, BOOT, 5);
    let mut used: BTreeSet<Bits> = BTreeSet::new();
    for _ in 0..4000 {
        let set = &sets[random.below(sets.len() as u64) as usize];
        let (pool, counted) = index.pool(set, || None).expect("pool");
        if counted {
            index.drop_unclaimed().expect("drop");
        }
        if random.below(2) == 0 {
            match index.choose(pool, set).expect("choose") {
                Some(ip) => {
                    assert!(set.offers(ip) && used.insert(ip), "{} twice", address(ip));
                    index.set_used(ip, 1, 0, pool).expect("use");
                }
                None => {
                    let mut ip = set.first();
                    for _ in 0..set.usable() {
                        assert!(used.contains(&ip), "{} was free", address(ip));
                        ip = set.next(ip);
                    }
                }
            }
        } else if let Some(ip) = used.iter().nth(random.below(used.len().max(1) as u64) as usize) {
            let ip = *ip;
            used.remove(&ip);
            index.set_freed(ip).expect("free");
        }
    }
}

#[test]
fn another_programs_cursor_is_followed() {
    let set = set(&[("10.0.0.0/24", "", "")]);
    let mut index = Index::new(0, BOOT, 5);
    let (pool, _) = index.pool(&set, || Some(ip("10.0.0.99"))).expect("pool");
    let first = index.choose(pool, &set).expect("choose");
    assert_eq!(first, Some(ip("10.0.0.100")), "goes on after last_reserved_ip");
    index.set_used(ip("10.0.0.100"), 1, 0, pool).expect("use");
    index.set_last(pool, ip("10.0.0.100"));
    // It gave out .101 to .103 and took back all but .102.
    let mut later = Index::new(0, BOOT, 5);
    later.inherit_pools(&index);
    later.set_used(ip("10.0.0.100"), 1, 0, pool).expect("use");
    later.set_used(ip("10.0.0.102"), 2, 0, NO_POOL).expect("use");
    let (pool, counted) = later.pool(&set, || Some(ip("10.0.0.103"))).expect("pool");
    assert!(counted);
    assert_eq!(later.choose(pool, &set).expect("choose"), Some(ip("10.0.0.104")));
    for freed in ["10.0.0.101", "10.0.0.103"] {
        let node = later.find(ip(freed)).expect("find").expect("known");
        assert_eq!(node.state, State::Freed, "{freed} was used a moment ago");
    }
}
