//! A subject made of a plugin that is not known here, its author's configuration, and what one ADD
//! of it shows.

mod about;
mod place;
mod rehearsal;
mod template;

pub use about::{About, Again, Bad, Change};
pub use place::Place;
pub(crate) use place::versions;

use crate::error::{Error, Result};
use crate::maker::Maker;
use crate::subject::{Conf, Needs, Repeat, Subject, Wire, Wiring};
use lab::{Drift, Lab, Pod};
use rehearsal::{Rehearsal, rehearse};
use serde_json::Value;
use std::process::Command;

/// A plugin as its author hands it in.
#[derive(Debug)]
pub struct Given {
    /// What enters the table.
    pub subject: Subject,
    /// What was found out and what was taken for granted, a line each.
    pub notes: Vec<String>,
}

/// Part of a chain: the plugin's own configuration and those before it.
struct Network {
    own: Value,
    earlier: Vec<Value>,
}

/// What part the plugin plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It makes the pod's interface.
    Interface,
    /// It hands out addresses.
    Ipam,
    /// It changes what earlier plugins made.
    Chained,
}

impl Given {
    /// Makes a subject of the plugin at `place` with `config`: a network configuration, or a list
    /// in which the plugin stands. Runs VERSION, ADD and DEL once.
    ///
    /// # Errors
    /// When the plugin or its configuration cannot be put on trial, ADD of it fails included.
    pub fn new(place: &Place, config: &Value, about: &About) -> Result<Given> {
        let name = place.name()?;
        let network = Network::find(&name, config)?;
        let maker = Maker::Other(Box::leak(Box::new(place.maker(&about.env)?)));
        let role = match &network.own["ipam"]["type"] {
            Value::String(ipam) if *ipam == name => Role::Ipam,
            _ if place.chained || !network.earlier.is_empty() => Role::Chained,
            _ => Role::Interface,
        };
        let mut subject = bare(&name, place, maker);
        subject.kernel = kept(&about.kernel);
        subject.needs.ipam = match (role, &network.own["ipam"]["type"]) {
            (Role::Interface | Role::Chained, Value::String(ipam)) => Some(kept(ipam)),
            _ => None,
        };
        let wire = network.wire(maker, subject.ifname, subject.version().as_str());
        subject.wiring = match (role, wire) {
            (Role::Interface, _) => Wiring::Plugin,
            // One that talks by the pod's interface, as to a DHCP server, needs it there.
            (Role::Ipam, _) if !place.chained => Wiring::Plugin,
            (_, Some(wire)) => Wiring::Chain(wire),
            (_, None) => Wiring::Before,
        };
        subject.conf = conf(network.own, about.setup.clone());
        let seen = match lab::kernel_lacks(subject.kernel) {
            Some(_) => Rehearsal::default(),
            None => rehearse(&subject)?,
        };
        let notes = settle(&mut subject, role, about, &seen);
        Ok(Given { subject, notes })
    }
}

impl Network {
    /// Finds the plugin `name` in a list, or takes a configuration as its own.
    fn find(name: &str, config: &Value) -> Result<Network> {
        let network = config["name"].as_str().unwrap_or("net").to_owned();
        let mut own = config.clone();
        let mut earlier = Vec::new();
        if let Some(list) = config["plugins"].as_array() {
            let place = list.iter().position(|plugin| plugin["type"] == name);
            let place = place.ok_or_else(|| {
                let types: Vec<_> = list.iter().filter_map(|p| p["type"].as_str()).collect();
                let cause = format!("no plugin of the list has this type: {}", types.join(", "));
                Error::new(format!("type {name}"), cause)
            })?;
            own = list[place].clone();
            earlier = list[..place].to_vec();
        }
        for conf in std::iter::once(&mut own).chain(&mut earlier) {
            let map = conf.as_object_mut();
            let map =
                map.ok_or_else(|| Error::new("--config", "is not a network configuration"))?;
            map.insert("name".to_owned(), network.as_str().into());
            map.remove("prevResult");
            map.entry("type").or_insert_with(|| name.into());
        }
        Ok(Network { own, earlier })
    }

    /// Runs the plugins before it, if there are any.
    fn wire(&self, maker: Maker, ifname: &'static str, version: &str) -> Option<&'static Wire> {
        if self.earlier.is_empty() {
            return None;
        }
        let (earlier, version) = (self.earlier.clone(), version.to_owned());
        let wire = move |lab: &Lab, pod: &Pod, number: u8| {
            let mut result = Value::Null;
            for template in &earlier {
                let mut conf = template::render(template, lab, number);
                conf["cniVersion"] = version.as_str().into();
                if !result.is_null() {
                    conf["prevResult"] = result;
                }
                let plugin = conf["type"].as_str().unwrap_or_default().to_owned();
                result = maker.plugin(lab, &plugin).add(pod, ifname, &conf).ok();
            }
            result
        };
        Some(Box::leak(Box::new(wire)))
    }
}

/// The configuration, on a node that is made ready before.
fn conf(template: Value, setup: Vec<String>) -> &'static Conf {
    let conf = move |lab: &Lab, number: u8| {
        ready(lab, number, &setup);
        template::render(&template, lab, number)
    };
    Box::leak(Box::new(conf))
}

/// Runs the commands that this node, or this pod, has not seen yet.
fn ready(lab: &Lab, number: u8, setup: &[String]) {
    let once = |mark: String| std::fs::create_dir(lab.root().join(mark)).is_ok();
    let (of_pods, of_node): (Vec<_>, Vec<_>) =
        setup.iter().partition(|line| line.contains("${POD}"));
    let mut lines = Vec::new();
    if once("ready".to_owned()) {
        lines.extend(of_node);
    }
    if number > 0 && once(format!("ready-{number}")) {
        lines.extend(of_pods);
    }
    for line in lines {
        let words = template::command(line, lab, number);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => {}
            [program, args @ .., "&"] => {
                let mut command = Command::new(program);
                command.args(args);
                lab.keep(command);
            }
            [program, args @ ..] => drop(lab.node().sh(program, args)),
        }
    }
}

/// A subject of which nothing is known.
fn bare(name: &str, place: &Place, maker: Maker) -> Subject {
    Subject {
        name: kept(name),
        plugin: kept(name),
        maker,
        kernel: "",
        conf: &|_, _| Value::Null,
        wiring: Wiring::Plugin,
        ifname: kept(&place.ifname),
        makes: &[],
        stays: &[],
        drifts: &[],
        wrong: &[],
        invalid: &[],
        repeat: Repeat::Either,
        needs: Needs::NOTHING,
        collects: false,
        addresses: true,
        reports_only: false,
        sweep: place.sweep.max(1),
    }
}

/// Fills in what the author said, and what the rehearsal showed where the author did not.
fn settle(subject: &mut Subject, role: Role, about: &About, seen: &Rehearsal) -> Vec<String> {
    let interface = role == Role::Interface;
    subject.makes = all_kept(&about.makes);
    subject.stays = about.stays.as_ref().map_or(&[""], |stays| all_kept(stays));
    subject.wrong = bad(&about.wrong);
    subject.invalid = bad(&about.invalid);
    subject.needs.program = about.program.as_deref().map(kept);
    subject.needs.pool = about.pool.as_deref().map(kept);
    subject.addresses = seen.addresses;
    subject.reports_only = role == Role::Ipam && seen.changed_nothing();
    subject.collects = subject.version().has_gc()
        && about.collects.unwrap_or(match role {
            Role::Interface => seen.link,
            Role::Ipam | Role::Chained => !seen.added.is_empty(),
        });
    subject.repeat = match about.repeat {
        Some(Again::Accepted) => Repeat::Accepted,
        Some(Again::Refused) => Repeat::Refused(""),
        None if interface && subject.ifname != "lo" => Repeat::Refused(""),
        Some(Again::Either) | None => Repeat::Either,
    };
    let drifts: Vec<(Drift, &str)> = match &about.drifts {
        Some(changes) => changes.iter().map(|change| ((*change).into(), "")).collect(),
        None if interface => seen.drifts(subject.ifname).into_iter().map(|d| (d, "")).collect(),
        None => Vec::new(),
    };
    subject.drifts = Box::leak(drifts.into_boxed_slice());
    let part = match role {
        Role::Interface => "makes the pod's interface",
        Role::Ipam => "hands out addresses",
        Role::Chained => "changes what earlier plugins made",
    };
    let mut notes = vec![format!("taken for a plugin that {part}")];
    let changes: Vec<_> = subject.drifts.iter().map(|(drift, _)| format!("{drift:?}")).collect();
    notes.push(format!("CHECK is to see: {}", or_nothing(&changes.join(", "))));
    let collects = if subject.collects { "all that a pod had" } else { "what it can" };
    notes.push(format!("GC is to free {collects}"));
    if about.stays.is_none() {
        notes.push("what stays after the first DEL on a fresh node is not judged".to_owned());
        notes.extend(seen.left.iter().map(|line| format!("it stays: {line}")));
    }
    notes
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

/// A text of a subject, which is used until the program ends.
pub(crate) fn kept(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn all_kept(texts: &[String]) -> &'static [&'static str] {
    let texts: Vec<_> = texts.iter().map(|text| kept(text)).collect();
    Box::leak(texts.into_boxed_slice())
}

fn bad(list: &[Bad]) -> &'static [(&'static str, &'static str, &'static str)] {
    let one = |bad: &Bad| (kept(&bad.at), kept(&bad.value.to_string()), kept(&bad.names));
    let list: Vec<_> = list.iter().map(one).collect();
    Box::leak(list.into_boxed_slice())
}
