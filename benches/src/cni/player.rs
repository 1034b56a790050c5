//! One plugin of one team, on a node of its own.

use super::Team;
use crate::error::{About, Error, Result};
use crate::invoke::{Outcome, Verb, invoke};
use crate::node::{Node, Site};
use crate::race::{Racer, mix};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// A contestant that speaks the CNI protocol.
#[derive(Debug)]
pub(crate) struct Player {
    label: String,
    program: PathBuf,
    dir: PathBuf,
    path: String,
    config: Value,
    node: Node,
    live: Option<Attached>,
    /// The attachments of [`Player::settle`].
    settled: Vec<Value>,
    /// Makes the pod ready before each ADD.
    renew: Option<fn(&Node) -> Result<()>>,
}

/// What an ADD left for CHECK and DEL.
#[derive(Debug)]
struct Attached {
    container: String,
    result: Value,
}

/// One call, ready to be run inside the node.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) command: Command,
    pub(crate) input: String,
}

/// Whom a call is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) container: String,
    pub(crate) ifname: String,
    pub(crate) pod: usize,
}

impl Subject {
    /// A container that never was before, with the usual interface.
    pub(crate) fn fresh(pod: usize) -> Subject {
        Subject { container: container_id(), ifname: "eth0".to_owned(), pod }
    }
}

impl Player {
    pub(crate) fn new(
        site: &Site,
        team: &Team,
        label: &str,
        node: Node,
        config: Value,
    ) -> Result<Player> {
        let plugin = config["type"].as_str().unwrap_or_default();
        let program = team.dir.join(plugin);
        if !program.is_file() {
            return Err(Error::new(program.display(), "there is no such plugin"));
        }
        Ok(Player {
            label: label.to_owned(),
            program,
            dir: team.dir.clone(),
            path: site.path(),
            config,
            node,
            live: None,
            settled: Vec::new(),
            renew: None,
        })
    }

    /// The same, with what makes the pod ready before each ADD.
    pub(crate) fn renewed_by(self, renew: Option<fn(&Node) -> Result<()>>) -> Player {
        Player { renew, ..self }
    }

    fn ready_for(&self, verb: Verb) -> Result<()> {
        match self.renew {
            Some(renew) if verb == Verb::Add => renew(&self.node),
            _ => Ok(()),
        }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn config(&self) -> &Value {
        &self.config
    }

    pub(crate) fn name(&self) -> &str {
        &self.label
    }

    /// A call with a configuration of the caller's.
    pub(crate) fn prepare(&self, verb: Verb, subject: &Subject, config: &Value) -> Prepared {
        self.prepare_as(Command::new(&self.program), verb, (subject, config))
    }

    fn prepare_as(
        &self,
        mut command: Command,
        verb: Verb,
        (subject, config): (&Subject, &Value),
    ) -> Prepared {
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("PODLOOM_RUN_DIR", self.node.run_dir())
            .env("CNI_COMMAND", verb.as_str())
            .env("CNI_PATH", &self.dir)
            .env("CNI_CONTAINERID", &subject.container)
            .env("CNI_IFNAME", &subject.ifname)
            .env("CNI_NETNS", self.node.pod(subject.pod));
        Prepared { command, input: config.to_string() }
    }

    /// Runs a prepared call inside the node.
    pub(crate) fn perform(&self, mut prepared: Prepared) -> Result<Outcome> {
        self.node.inside(|| invoke(&mut prepared.command, &prepared.input))?
    }

    /// Sets up one more container that stays; not measured.
    pub(crate) fn settle(&mut self, subject: &Subject, config: &Value) -> Result<()> {
        let outcome = self.perform(self.prepare(Verb::Add, subject, config))?;
        match outcome.failure {
            None => {
                let Subject { container, ifname, .. } = subject;
                self.settled.push(json!({ "containerID": container, "ifname": ifname }));
                Ok(())
            }
            Some(cause) => Err(Error::new(&self.label, cause)),
        }
    }

    /// The configuration as a runtime hands it to `verb`, with the result of ADD.
    fn config_for(&self, verb: Verb) -> Value {
        let mut config = self.config.clone();
        if let (Verb::Check | Verb::Del, Some(live)) = (verb, &self.live) {
            config["prevResult"] = live.result.clone();
        }
        if matches!(verb, Verb::Status | Verb::Gc) {
            config["cniVersion"] = json!("1.1.0");
        }
        if verb == Verb::Gc {
            config["cni.dev/valid-attachments"] = json!(self.settled);
        }
        config
    }

    fn subject_for(&self, verb: Verb) -> Subject {
        match (&self.live, verb) {
            (Some(live), Verb::Check | Verb::Del) => {
                Subject { container: live.container.clone(), ..Subject::fresh(0) }
            }
            _ => Subject::fresh(0),
        }
    }

    fn remember(&mut self, verb: Verb, subject: Subject, outcome: &Outcome) -> Result<()> {
        match verb {
            Verb::Add if outcome.failure.is_none() => {
                let result = serde_json::from_str(&outcome.stdout).about(&self.label)?;
                self.live = Some(Attached { container: subject.container, result });
            }
            Verb::Del => self.live = None,
            _ => {}
        }
        Ok(())
    }

    /// Runs `verb` under the counting program, which writes to `report`.
    pub(crate) fn tallied(&mut self, verb: Verb, tally: &Path, report: &Path) -> Result<Outcome> {
        self.ready_for(verb)?;
        let subject = self.subject_for(verb);
        let config = self.config_for(verb);
        let mut command = Command::new(tally);
        command.arg(report).arg(&self.program);
        let outcome = self.perform(self.prepare_as(command, verb, (&subject, &config)))?;
        self.remember(verb, subject, &outcome)?;
        Ok(outcome)
    }
}

impl Racer for Player {
    fn label(&self) -> &str {
        &self.label
    }

    fn has(&self, verb: Verb) -> bool {
        match verb {
            Verb::Check | Verb::Del => self.live.is_some(),
            Verb::Add | Verb::Version | Verb::Status | Verb::Gc => true,
        }
    }

    fn run(&mut self, verb: Verb) -> Result<Outcome> {
        self.ready_for(verb)?;
        let subject = self.subject_for(verb);
        let prepared = self.prepare(verb, &subject, &self.config_for(verb));
        let outcome = self.perform(prepared)?;
        self.remember(verb, subject, &outcome)?;
        Ok(outcome)
    }
}

/// A container id as runtimes make them: 64 hexadecimal digits without visible order.
pub(crate) fn container_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed);
    (0..4).map(|part| format!("{:016x}", mix(serial * 4 + part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_long_and_differ() {
        let (a, b) = (container_id(), container_id());
        assert_eq!(a.len(), 64);
        assert!(a.bytes().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(a[..8], b[..8]);
    }
}
