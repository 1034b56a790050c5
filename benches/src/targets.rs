//! What the figures must be, and whether they are.

use crate::cni::burst::ALL_ADDS;
use crate::cni::cost::Costs;
use crate::cni::{FLOOR, OURS, PEER};
use crate::race::{Compare, Kind, Scenario};

/// One target and its outcome.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) bound: Bound,
    /// The figure; `None` when it was not measured.
    pub(crate) got: Option<f64>,
}

/// Which way a figure is limited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Verdict {
    pub(crate) fn met(&self) -> Option<bool> {
        self.got.map(|got| match self.bound {
            Bound::AtLeast(least) => got >= least,
            Bound::AtMost(most) => got <= most,
        })
    }
}

/// The most that a plugin may hold in memory and on disk, in MiB.
const MIB_MOST: f64 = 3.0;

/// The target of a ratio of medians.
struct Target {
    scenario: &'static str,
    verb: &'static str,
    compare: Compare,
    bound: Bound,
}

fn targets() -> Vec<Target> {
    let speed = |scenario, verb, (of, against): (&str, &str), least| Target {
        scenario,
        verb,
        compare: Compare::speed(of, against),
        bound: Bound::AtLeast(least),
    };
    let cost = |scenario, verb, (of, against): (&str, &str), most| Target {
        scenario,
        verb,
        compare: Compare::cost(of, against),
        bound: Bound::AtMost(most),
    };
    let [nft, ipt] = ["nftables", "iptables"].map(|backend| format!("{OURS} {backend}"));
    // Without a choice in the configuration the reference writes iptables rules.
    let peer = format!("{PEER} iptables");
    let without = format!("{OURS} without");
    let mut all = vec![
        speed("bridge", "ADD", (OURS, PEER), 3.5),
        cost("bridge", "ADD", (OURS, FLOOR), 1.8),
        cost("bridge", "DEL", (OURS, FLOOR), 1.15),
        speed("masquerade", "ADD", (&nft, &peer), 8.0),
        speed("masquerade", "ADD", (&ipt, &peer), 3.0),
        cost("masquerade", "DEL", (&nft, &without), 1.2),
        cost("masquerade", "DEL", (&ipt, &without), 1.2),
        speed("burst", ALL_ADDS, (OURS, PEER), 4.0),
    ];
    for verb in ["ADD", "DEL"] {
        all.push(speed("portmap-10", verb, (&nft, &peer), 10.0));
        all.push(speed("portmap-10", verb, (&ipt, &peer), 10.0));
    }
    for verb in ["ADD", "CHECK", "DEL"] {
        let mut flat = |scenario, label: &str| {
            let (full, empty) = (format!("{label}, full"), format!("{label}, empty"));
            all.push(cost(scenario, verb, (&full, &empty), 1.1));
        };
        flat("flat-bridge", OURS);
        flat("flat-host-local", OURS);
        for label in [&nft, &ipt] {
            flat("flat-masquerade", label);
            flat("flat-portmap", label);
        }
    }
    all
}

/// Compares what was measured with what is wanted; scenarios that did not run are left out.
pub(crate) fn judge(done: &[Scenario], costs: &Costs) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for target in targets() {
        let Some(scenario) = done.iter().find(|s| s.name == target.scenario) else { continue };
        let Compare { of, against, kind } = &target.compare;
        let word = if *kind == Kind::Speed { "speed" } else { "cost" };
        let (name, verb) = (target.scenario, target.verb);
        verdicts.push(Verdict {
            what: format!("{name}: {verb}, {of}, {word} against {against}"),
            bound: target.bound,
            got: scenario.ratio(&target.compare, verb),
        });
    }
    if let Some(scenario) = done.iter().find(|s| s.name == "burst") {
        verdicts.push(Verdict {
            what: format!("burst: ADD, {OURS}, p99 against mean"),
            bound: Bound::AtMost(2.0),
            got: scenario.summary(OURS, "ADD").map(|s| s.p99 / s.mean),
        });
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let ours = costs.calls.iter().filter(|call| call.team == OURS);
    if let Some(rss) = ours.map(|call| call.tally.max_rss_kib).max() {
        verdicts.push(Verdict {
            what: "largest resident set of any call, MiB".to_owned(),
            bound: Bound::AtMost(MIB_MOST),
            got: Some(mib(rss << 10)),
        });
    }
    let ours = costs.sizes.iter().filter(|size| size.team == OURS);
    if let Some(bytes) = ours.map(|size| size.bytes).max() {
        verdicts.push(Verdict {
            what: "largest program file, MiB".to_owned(),
            bound: Bound::AtMost(MIB_MOST),
            got: Some(mib(bytes)),
        });
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::Row;
    use std::time::Duration;

    fn scenario(name: &'static str, rows: &[(&str, &str, u64)]) -> Scenario {
        let rows = rows
            .iter()
            .map(|(contestant, verb, millis)| {
                let mut row = Row::new(contestant, verb);
                row.push(Duration::from_millis(*millis));
                row
            })
            .collect();
        Scenario { name, title: String::new(), rows, compare: Vec::new(), notes: Vec::new() }
    }

    #[test]
    fn met_and_missed() {
        let rows = [(OURS, "ADD", 2), (PEER, "ADD", 10), (FLOOR, "ADD", 1)];
        let verdicts = judge(&[scenario("bridge", &rows)], &Costs::default());
        assert_eq!(verdicts.len(), 3);
        assert_eq!(verdicts[0].met(), Some(true), "5x of 3.5x");
        assert_eq!(verdicts[1].met(), Some(false), "2x of 1.8x");
        assert_eq!(verdicts[2].met(), None, "DEL was not measured");
    }

    #[test]
    fn every_target_names_a_known_comparison() {
        for target in targets() {
            assert!(!target.verb.is_empty() && target.compare.of != target.compare.against);
        }
    }
}
