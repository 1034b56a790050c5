//! What a call costs beside time: processes, memory, and room on disk.

use super::contest::CONTESTS;
use super::floored::ready_bridge;
use super::player::Player;
use super::{Backend, Stage, Team, config};
use crate::error::{About, Error, Result};
use crate::invoke::Verb;
use crate::node::Node;
use serde_json::Value;

/// The costs of all contestants.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    pub(crate) calls: Vec<CallCost>,
    pub(crate) sizes: Vec<Size>,
}

/// What one call starts and holds.
#[derive(Debug)]
pub(crate) struct CallCost {
    pub(crate) scenario: String,
    pub(crate) team: &'static str,
    pub(crate) verb: Verb,
    pub(crate) tally: Tally,
}

/// As counted by the tracing program, which see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) execs: u64,
    pub(crate) processes: u64,
    pub(crate) threads: u64,
    pub(crate) max_rss_kib: u64,
}

/// One program file.
#[derive(Debug)]
pub(crate) struct Size {
    pub(crate) team: &'static str,
    pub(crate) plugin: &'static str,
    pub(crate) bytes: u64,
}

impl Costs {
    /// Counts every verb once, after one that is not counted.
    fn count(
        &mut self,
        stage: &Stage<'_>,
        team: &Team,
        scenario: &str,
        mut player: Player,
    ) -> Result<()> {
        let report = stage.site.dir().join("tally");
        for round in 0..2 {
            for verb in [Verb::Add, Verb::Check, Verb::Del] {
                let outcome = player.tallied(verb, &stage.floor.tally, &report)?;
                // A verb that fails is reported where it is timed.
                if round == 0 || outcome.failure.is_some() {
                    continue;
                }
                let text = std::fs::read_to_string(&report).about(report.display())?;
                let (scenario, team) = (scenario.to_owned(), team.name);
                self.calls.push(CallCost { scenario, team, verb, tally: parse(&text)? });
            }
        }
        Ok(())
    }
}

/// Counts every verb of every scenario, and takes the sizes of the programs.
pub(crate) fn measure(stage: &Stage<'_>) -> Result<Costs> {
    let mut costs = Costs::default();
    type Config = Box<dyn Fn(&Node) -> Value>;
    for team in stage.teams() {
        let mut subjects: Vec<(String, Config)> = vec![
            ("bridge".to_owned(), Box::new(config::bridge)),
            ("ptp".to_owned(), Box::new(config::ptp)),
            ("host-local".to_owned(), Box::new(config::host_local)),
        ];
        for backend in Backend::BOTH {
            if team.knows("bridge", backend) {
                let name = format!("bridge, ipMasq {}", backend.as_str());
                subjects.push((name, Box::new(move |node| config::masquerade(node, backend))));
            }
            if team.knows("portmap", backend) {
                let name = format!("portmap, 10 by {}", backend.as_str());
                let make = move |node: &Node| config::portmap(node, backend, 20_000, 10);
                subjects.push((name, Box::new(make)));
            }
        }
        for (scenario, config) in subjects {
            let player = stage.player(&team, team.name, 1, config)?;
            ready_bridge(player.node())?;
            costs.count(stage, &team, &scenario, player)?;
        }
        for contest in CONTESTS {
            if contest.barrier(stage.site)?.is_none()
                && let Some(player) = contest.player(stage, &team)?
            {
                costs.count(stage, &team, contest.name, player)?;
            }
        }
        let further = CONTESTS.iter().map(|contest| contest.name);
        for plugin in
            ["bridge", "ptp", "host-local", "portmap", "loopback"].into_iter().chain(further)
        {
            let path = team.dir.join(plugin);
            // Not every team has every plugin.
            if path.is_file() {
                let bytes = std::fs::metadata(&path).about(path.display())?.len();
                costs.sizes.push(Size { team: team.name, plugin, bytes });
            }
        }
    }
    Ok(costs)
}

/// Reads "execs N processes N threads N maxrss_kib N".
fn parse(text: &str) -> Result<Tally> {
    let number = |key: &str| {
        let mut words = text.split_whitespace().skip_while(|word| *word != key).skip(1);
        let word = words.next().ok_or_else(|| Error::new("tally", format!("no {key}: {text}")))?;
        word.parse::<u64>().about(key)
    };
    Ok(Tally {
        execs: number("execs")?,
        processes: number("processes")?,
        threads: number("threads")?,
        max_rss_kib: number("maxrss_kib")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_tally() {
        let tally = parse("execs 2 processes 3 threads 4 maxrss_kib 1500\n").unwrap();
        assert_eq!(tally, Tally { execs: 2, processes: 3, threads: 4, max_rss_kib: 1500 });
        assert!(parse("execs 2 processes 3").is_err());
        assert!(parse("execs x processes 3 threads 4 maxrss_kib 1").is_err());
    }
}
