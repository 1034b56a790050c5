//! The floor as a contestant: bare programs that do what bridge with host-local must do.

use super::config::{BRIDGE, GATEWAY, NETWORK, PREFIX};
use super::player::container_id;
use super::{FLOOR, Stage};
use crate::error::{About, Error, Result};
use crate::invoke::{Outcome, Verb, invoke};
use crate::node::Node;
use crate::race::Racer;
use std::path::PathBuf;
use std::process::Command;

/// Starting a process that does nothing.
#[derive(Debug)]
pub(crate) struct Nothing(pub(crate) PathBuf);

impl Racer for Nothing {
    fn label(&self) -> &str {
        FLOOR
    }

    fn has(&self, verb: Verb) -> bool {
        verb == Verb::Version
    }

    fn run(&mut self, _: Verb) -> Result<Outcome> {
        invoke(&mut Command::new(&self.0), "{}")
    }
}

/// The bare ADD and DEL.
#[derive(Debug)]
pub(crate) struct Bare {
    label: String,
    add: PathBuf,
    del: PathBuf,
    node: Node,
    leases: PathBuf,
    serial: usize,
}

impl Bare {
    /// A node whose bridge is there already, as it is for the others from their second ADD on.
    pub(crate) fn new(stage: &Stage<'_>, label: &str) -> Result<Bare> {
        let node = Node::new(stage.site, 2)?;
        ready_bridge(&node)?;
        let leases = node.data().join(NETWORK);
        std::fs::create_dir_all(&leases).about(leases.display())?;
        let (add, del) = (stage.floor.bridge_add.clone(), stage.floor.bridge_del.clone());
        Ok(Bare { label: label.to_owned(), add, del, node, leases, serial: 0 })
    }

    /// Attaches `count` containers that stay, all of them interfaces of one silent pod.
    pub(crate) fn settle(&mut self, count: usize) -> Result<()> {
        self.node.silence(1)?;
        for number in 0..count {
            let mut add =
                self.adding(&format!("crowd{number}"), (1, &format!("crowd{number}"), "-"));
            let outcome = self.node.inside(|| invoke(&mut add, "{}"))??;
            if let Some(cause) = outcome.failure {
                return Err(Error::new(&self.label, cause));
            }
        }
        Ok(())
    }

    fn adding(&mut self, host: &str, (pod, ifname, gateway): (usize, &str, &str)) -> Command {
        self.serial += 1;
        let mut command = Command::new(&self.add);
        command.arg(self.node.pod(pod)).args([BRIDGE, host, ifname, &self.address()]);
        command.args([&PREFIX.to_string(), gateway]).arg(&self.leases).arg(container_id());
        command
    }

    fn address(&self) -> String {
        format!("10.64.{}.{}", self.serial / 250, 2 + self.serial % 250)
    }
}

/// A bridge with the gateway's address and a MAC address of its own.
pub(crate) fn ready_bridge(node: &Node) -> Result<()> {
    node.ip(&format!("link add {BRIDGE} address 0a:58:0a:40:00:01 type bridge"))?;
    node.ip(&format!("address add {GATEWAY}/{PREFIX} dev {BRIDGE}"))?;
    node.ip(&format!("link set {BRIDGE} up"))
}

impl Racer for Bare {
    fn label(&self) -> &str {
        &self.label
    }

    fn has(&self, verb: Verb) -> bool {
        matches!(verb, Verb::Add | Verb::Del)
    }

    fn run(&mut self, verb: Verb) -> Result<Outcome> {
        let mut command = match verb {
            Verb::Add => self.adding("veth0", (0, "eth0", GATEWAY)),
            _ => {
                let mut command = Command::new(&self.del);
                command.args(["veth0", &self.address()]).arg(&self.leases);
                command
            }
        };
        self.node.inside(|| invoke(&mut command, "{}"))?
    }
}
