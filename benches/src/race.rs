//! Contestants measured in turn, so that whatever else the machine does meets all of them.

use crate::error::Result;
use crate::invoke::{Outcome, Verb};
use crate::stats::{Series, Summary};
use std::collections::HashMap;
use std::time::Duration;

/// Rounds run before measuring: caches, modules and first-time files.
const WARM_UP: usize = 2;
/// A contestant whose verb failed this often is not asked again.
const PATIENCE: usize = 3;

/// Someone who can be measured.
pub(crate) trait Racer {
    fn label(&self) -> &str;
    fn has(&self, verb: Verb) -> bool;
    fn run(&mut self, verb: Verb) -> Result<Outcome>;
}

/// All measurements of one verb of one contestant.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) contestant: String,
    /// The verb, or what else was measured.
    pub(crate) verb: String,
    pub(crate) series: Series,
    pub(crate) failures: usize,
    pub(crate) first_failure: Option<String>,
}

impl Row {
    pub(crate) fn new(contestant: &str, verb: &str) -> Row {
        Row {
            contestant: contestant.to_owned(),
            verb: verb.to_owned(),
            series: Series::default(),
            failures: 0,
            first_failure: None,
        }
    }

    pub(crate) fn fail(&mut self, cause: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(cause);
    }

    pub(crate) fn push(&mut self, sample: Duration) {
        self.series.push(sample);
    }
}

/// How two contestants of a scenario are compared; the first-named is shown against the second.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compare {
    pub(crate) of: String,
    pub(crate) against: String,
    pub(crate) kind: Kind,
}

/// Which way a ratio reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How many times as fast.
    Speed,
    /// How many times the cost.
    Cost,
}

impl Compare {
    pub(crate) fn speed(of: &str, against: &str) -> Compare {
        Compare { of: of.to_owned(), against: against.to_owned(), kind: Kind::Speed }
    }

    pub(crate) fn cost(of: &str, against: &str) -> Compare {
        Compare { of: of.to_owned(), against: against.to_owned(), kind: Kind::Cost }
    }
}

/// One finished comparison.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) compare: Vec<Compare>,
    /// What was left out and why.
    pub(crate) notes: Vec<String>,
}

impl Scenario {
    pub(crate) fn row(&self, contestant: &str, verb: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.contestant == contestant && row.verb == verb)
    }

    pub(crate) fn summary(&self, contestant: &str, verb: &str) -> Option<Summary> {
        self.row(contestant, verb)?.series.summary()
    }

    /// The ratio of medians, read as `compare` says.
    pub(crate) fn ratio(&self, compare: &Compare, verb: &str) -> Option<f64> {
        let of = self.summary(&compare.of, verb)?.p50;
        let against = self.summary(&compare.against, verb)?.p50;
        Some(match compare.kind {
            Kind::Speed => against / of,
            Kind::Cost => of / against,
        })
    }
}

/// Runs all `verbs` in order, each by every contestant before the next one. The order of turns is
/// shuffled: who follows a slow contestant finds cold caches and a kernel that is still deleting,
/// and that must not always be the same one.
pub(crate) fn race(
    racers: &mut [Box<dyn Racer>],
    verbs: &[Verb],
    rounds: usize,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Vec<Row>> = verbs
        .iter()
        .map(|verb| racers.iter().map(|racer| Row::new(racer.label(), verb.as_str())).collect())
        .collect();
    let mut turns = Turns::of(racers.len());
    for round in 0..rounds + WARM_UP {
        for (verb, rows) in verbs.iter().zip(&mut rows) {
            for lane in turns.shuffled() {
                let (racer, row) = (&mut racers[lane], &mut rows[lane]);
                if !racer.has(*verb) || row.failures >= PATIENCE {
                    continue;
                }
                let outcome = racer.run(*verb)?;
                match outcome.failure {
                    Some(cause) => row.fail(cause),
                    None if round >= WARM_UP => row.push(outcome.wall),
                    None => {}
                }
            }
        }
    }
    let measured = |row: &Row| row.failures > 0 || row.series.summary().is_some();
    Ok(rows.into_iter().flatten().filter(measured).collect())
}

/// The measurements while they come in.
#[derive(Debug, Default)]
pub(crate) struct Board {
    rows: Vec<Row>,
    /// Whether they are to be counted.
    pub(crate) counts: bool,
    /// Of this round, by contestant and verb.
    round: HashMap<(String, String), Duration>,
}

impl Board {
    fn row(&mut self, name: &str, verb: &str) -> &mut Row {
        let at = self.rows.iter().position(|row| row.contestant == name && row.verb == verb);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row::new(name, verb));
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    pub(crate) fn may_run(&self, name: &str) -> bool {
        let failed = self.rows.iter().filter(|row| row.contestant == name).map(|row| row.failures);
        failed.max().unwrap_or(0) < PATIENCE
    }

    pub(crate) fn note(
        &mut self,
        name: &str,
        verb: &str,
        outcome: std::result::Result<Duration, String>,
    ) {
        let counts = self.counts;
        match outcome {
            Ok(wall) => {
                self.round.insert((name.to_owned(), verb.to_owned()), wall);
                let row = self.row(name, verb);
                if counts {
                    row.push(wall);
                }
            }
            Err(cause) => self.row(name, verb).fail(cause),
        }
    }

    /// The sums of a round, for those who did all of their parts.
    pub(crate) fn add_up<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
        sums: &[(&str, &[&str])],
    ) {
        let round = std::mem::take(&mut self.round);
        for name in names {
            for (verb, parts) in sums {
                let part = |part: &&str| round.get(&(name.to_owned(), (*part).to_owned())).copied();
                if let Some(sum) = parts.iter().map(part).sum::<Option<Duration>>() {
                    self.note(name, verb, Ok(sum));
                }
            }
        }
    }

    /// Verb by verb.
    pub(crate) fn into_rows(mut self) -> Vec<Row> {
        let mut verbs: Vec<String> = Vec::new();
        for row in &self.rows {
            if !verbs.contains(&row.verb) {
                verbs.push(row.verb.clone());
            }
        }
        self.rows.sort_by_key(|row| verbs.iter().position(|verb| *verb == row.verb));
        self.rows
    }
}

/// Whose turn it is; the same shuffles in every run.
#[derive(Debug)]
pub(crate) struct Turns {
    lanes: Vec<usize>,
    state: u64,
}

impl Turns {
    pub(crate) fn of(count: usize) -> Turns {
        Turns { lanes: (0..count).collect(), state: 0 }
    }

    /// A new order.
    pub(crate) fn shuffled(&mut self) -> Vec<usize> {
        for end in (1..self.lanes.len()).rev() {
            self.state += 1;
            // The remainder favours no place noticeably: there are a handful of lanes.
            let place = mix(self.state) % (end as u64 + 1);
            self.lanes.swap(end, usize::try_from(place).unwrap_or_default());
        }
        self.lanes.clone()
    }
}

/// The finaliser of the splitmix64 generator: neighbours in, nothing alike out.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    type Log = Rc<RefCell<Vec<String>>>;

    struct Fake {
        label: &'static str,
        millis: u64,
        fails: bool,
        log: Log,
    }

    impl Racer for Fake {
        fn label(&self) -> &str {
            self.label
        }

        fn has(&self, verb: Verb) -> bool {
            verb != Verb::Check
        }

        fn run(&mut self, verb: Verb) -> Result<Outcome> {
            self.log.borrow_mut().push(format!("{}{verb}", self.label));
            Ok(Outcome {
                wall: Duration::from_millis(self.millis),
                stdout: String::new(),
                failure: self.fails.then(|| "broken".to_owned()),
            })
        }
    }

    fn fakes(b_fails: bool) -> (Vec<Box<dyn Racer>>, Log) {
        let log = Log::default();
        let a = Fake { label: "a", millis: 2, fails: false, log: Rc::clone(&log) };
        let b = Fake { label: "b", millis: 6, fails: b_fails, log: Rc::clone(&log) };
        (vec![Box::new(a), Box::new(b)], log)
    }

    #[test]
    fn everybody_runs_a_verb_before_the_next_one() {
        let (mut racers, log) = fakes(false);
        let rows = race(&mut racers, &[Verb::Add, Verb::Check, Verb::Del], 20).unwrap();
        let log = log.borrow();
        for pair in log.chunks(4) {
            let mut verbs: Vec<_> = pair.iter().map(|entry| &entry[1..]).collect();
            assert_eq!(verbs, ["ADD", "ADD", "DEL", "DEL"]);
            let mut lanes: Vec<_> = pair.to_vec();
            lanes.sort();
            lanes.dedup();
            verbs.dedup();
            assert_eq!((lanes.len(), verbs.len()), (4, 2));
        }
        assert_eq!(rows.len(), 4, "no rows for a verb that nobody has");
        assert!(rows.iter().all(|row| row.series.summary().unwrap().count == 20));
    }

    #[test]
    fn everybody_is_first_about_as_often() {
        let mut turns = Turns::of(3);
        let mut first = [0; 3];
        for _ in 0..300 {
            let mut order = turns.shuffled();
            first[order[0]] += 1;
            order.sort();
            assert_eq!(order, [0, 1, 2]);
        }
        assert!(first.iter().all(|count| (70..130).contains(count)), "{first:?}");
    }

    #[test]
    fn ratios_read_both_ways() {
        let (mut racers, _) = fakes(false);
        let rows = race(&mut racers, &[Verb::Add], 3).unwrap();
        let scenario = Scenario {
            name: "fake",
            title: String::new(),
            rows,
            compare: Vec::new(),
            notes: Vec::new(),
        };
        let speed = scenario.ratio(&Compare::speed("a", "b"), "ADD").unwrap();
        let cost = scenario.ratio(&Compare::cost("b", "a"), "ADD").unwrap();
        assert!((speed - 3.0).abs() < 1e-9 && (cost - 3.0).abs() < 1e-9);
        assert_eq!(scenario.ratio(&Compare::cost("b", "nobody"), "ADD"), None);
    }

    #[test]
    fn one_who_keeps_failing_is_dropped_and_reported() {
        let (mut racers, log) = fakes(true);
        let rows = race(&mut racers, &[Verb::Add], 10).unwrap();
        assert_eq!(log.borrow().iter().filter(|entry| *entry == "bADD").count(), PATIENCE);
        assert_eq!(rows[1].failures, PATIENCE);
        assert_eq!(rows[1].first_failure.as_deref(), Some("broken"));
        assert_eq!(rows[0].series.summary().unwrap().count, 10);
    }

    #[test]
    fn sums_need_all_of_their_parts() {
        let mut board = Board { counts: true, ..Board::default() };
        let ms = Duration::from_millis;
        board.note("a", "create", Ok(ms(2)));
        board.note("a", "start", Ok(ms(3)));
        board.note("b", "create", Ok(ms(2)));
        board.note("b", "start", Err("broken".to_owned()));
        let sums: [(&str, &[&str]); 2] =
            [("create+start", &["create", "start"]), ("all", &["create", "start", "delete"])];
        board.add_up(["a", "b"].into_iter(), &sums);
        let rows = board.into_rows();
        let sums: Vec<_> = rows.iter().filter(|row| row.verb == "create+start").collect();
        assert_eq!(sums.len(), 1);
        assert!((sums[0].series.summary().unwrap().p50 - 0.005).abs() < 1e-9);
        assert!(rows.iter().all(|row| row.verb != "all"));
    }

    #[test]
    fn who_keeps_failing_is_not_asked_again() {
        let mut board = Board::default();
        for _ in 0..PATIENCE {
            assert!(board.may_run("a"));
            board.note("a", "create", Err("broken".to_owned()));
        }
        assert!(!board.may_run("a") && board.may_run("b"));
    }
}
