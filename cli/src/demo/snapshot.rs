//! What the node holds: links, addresses, routes, rules, leases, records.

use super::stage::Stage;
use crate::fault::{Fault, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// The state of a node, as sets of lines by subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    facts: BTreeMap<&'static str, BTreeSet<String>>,
}

/// Words that tell of a moment and not of a configuration: carrier, and what hangs on it.
const PASSING: [&str; 6] = ["linkdown", "tentative", "dadfailed", "dynamic", "offload", "dead"];

/// Prefixes of what every interface gets by itself once it has a carrier, and loses with it.
const OF_THE_LINK: [&str; 2] = ["fe80:", "ff00::/8"];

/// How long the kernel may take to remove what belonged to a namespace that has ended.
const SETTLE: Duration = Duration::from_secs(10);

impl Snapshot {
    /// Looks at everything.
    pub(super) fn take(stage: &Stage) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let say = |words: &[&str]| stage.say(&stage.node, words);
        let links = say(&["ip", "-br", "link"])?;
        let links = links.lines().map(|line| {
            let cells: Vec<_> = line.split_whitespace().collect();
            // Name and address; the state between them depends on the carrier.
            format!("{} {}", cells.first().unwrap_or(&""), cells.get(2).unwrap_or(&""))
        });
        snapshot.facts.insert("links", links.collect());
        let addresses = say(&["ip", "-br", "addr"])?;
        let addresses = addresses.lines().flat_map(|line| {
            let mut cells = line.split_whitespace();
            let name = cells.next().unwrap_or_default().to_owned();
            cells.skip(1).map(move |address| format!("{name} {address}"))
        });
        let addresses = addresses.filter(|line| !is_of_the_link(line));
        snapshot.facts.insert("addresses", addresses.collect());
        let mut routes = BTreeSet::new();
        for family in ["-4", "-6"] {
            for kind in ["route", "rule"] {
                let table: &[&str] = if kind == "route" { &["table", "all"] } else { &[] };
                let text = say(&[&["ip", family, kind, "show"], table].concat())?;
                let own = text.lines().filter(|line| !is_of_the_link(line));
                routes.extend(own.map(|line| steady(family, line)));
            }
        }
        snapshot.facts.insert("routes", routes);
        let mut rules = lines(&say(&["nft", "-s", "list", "ruleset"])?);
        for program in ["iptables-save", "ip6tables-save"] {
            rules.extend(saved_rules(program, &say(&[program])?));
        }
        snapshot.facts.insert("rules", rules);
        snapshot.facts.insert("leases", leases(&stage.leases()));
        snapshot.facts.insert("records", files(&stage.cache().join("results")));
        snapshot.facts.insert("intents", intents(&stage.run_dir()));
        Ok(snapshot)
    }

    /// Looks until the node is as in `self`, as far as the kernel needs time to tear down what
    /// has lost its namespace. The answer lists what differs: empty if nothing does.
    pub(super) fn compare_settled(&self, stage: &Stage) -> Result<Vec<String>> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let differences = self.differences(&Snapshot::take(stage)?);
            if differences.is_empty() || Instant::now() > deadline {
                return Ok(differences);
            }
            // The end of a namespace is no event that could be waited for.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What `now` has more or less than `self`.
    pub(super) fn differences(&self, now: &Snapshot) -> Vec<String> {
        let mut found = Vec::new();
        let none = BTreeSet::new();
        for (subject, after) in &now.facts {
            let before = self.facts.get(subject).unwrap_or(&none);
            found.extend(after.difference(before).map(|line| format!("{subject}: + {line}")));
            found.extend(before.difference(after).map(|line| format!("{subject}: - {line}")));
        }
        found
    }

    /// "5 links, 12 addresses, ..."
    pub(super) fn summary(&self) -> String {
        let parts: Vec<_> = self
            .facts
            .iter()
            .map(|(subject, lines)| format!("{} {subject}", lines.len()))
            .collect();
        parts.join(", ")
    }

    /// Fails unless there is something of every subject but intents: a comparison of nothing
    /// with nothing would prove nothing.
    pub(super) fn must_show(&self, subjects: &[&str]) -> Result<()> {
        for subject in subjects {
            if self.facts.get(subject).is_none_or(BTreeSet::is_empty) {
                let cause = format!("the snapshot sees no {subject} while pods are attached");
                return Err(Fault::new(1, "snapshot", cause));
            }
        }
        Ok(())
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn is_of_the_link(line: &str) -> bool {
    line.split_whitespace().any(|word| OF_THE_LINK.iter().any(|prefix| word.starts_with(prefix)))
}

fn steady(family: &str, line: &str) -> String {
    let words = line.split_whitespace().filter(|word| !PASSING.contains(word));
    format!("{family} {}", words.collect::<Vec<_>>().join(" "))
}

/// Rules and chains without comments and packet counts.
fn saved_rules(program: &str, text: &str) -> Vec<String> {
    let kept = text.lines().filter(|line| !line.starts_with('#'));
    kept.map(|line| {
        let line = line.split_once(" [").map_or(line, |(head, _)| head);
        format!("{program} {line}")
    })
    .collect()
}

fn files(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Files named after an address; the others are the allocator's own notes.
fn leases(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for network in files(dir) {
        for file in files(&dir.join(&network)) {
            if file.parse::<IpAddr>().is_ok() {
                found.insert(format!("{network}/{file}"));
            }
        }
    }
    found
}

fn intents(run_dir: &Path) -> BTreeSet<String> {
    let state = run_dir.join("libcni");
    files(&state).iter().flat_map(|instance| files(&state.join(instance).join("intents"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_words_and_counters_are_left_out() {
        assert_eq!(
            steady("-4", "10.88.0.0/16 dev cni0 proto kernel linkdown"),
            "-4 10.88.0.0/16 dev cni0 proto kernel"
        );
        let saved = "# Generated\n*nat\n:POSTROUTING ACCEPT [5:300]\n-A X -j RETURN\n";
        assert!(is_of_the_link("anycast fe80:: dev veth0 table local"));
        assert!(!is_of_the_link("2001:db8::/64 dev cni0"));
        assert_eq!(
            saved_rules("s", saved),
            ["s *nat", "s :POSTROUTING ACCEPT", "s -A X -j RETURN"]
        );
    }

    #[test]
    fn differences_have_a_direction() {
        let with = |lines: &[&str]| Snapshot {
            facts: [("links", lines.iter().map(|l| (*l).to_owned()).collect())].into(),
        };
        let (before, after) = (with(&["lo", "cni0"]), with(&["lo", "veth1"]));
        assert_eq!(before.differences(&after), ["links: + veth1", "links: - cni0"]);
        assert!(before.differences(&before.clone()).is_empty());
        assert!(before.must_show(&["links"]).is_ok());
        assert!(before.must_show(&["leases"]).is_err());
    }
}
