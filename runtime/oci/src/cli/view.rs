//! state, list, ps, events.

use super::flags::{Flag, Given, switch, switch_or, value, value_or};
use super::log::timestamp;
use super::{Call, print, print_json};
use oci::{Container, Error, Result};
use runtime_spec::Status;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// A container as `state` and `list` show it, in the form that runc has.
fn shown(container: &Container) -> Shown {
    let (state, (seconds, nanos)) = (container.state(), container.created());
    Shown {
        version: state.oci_version,
        id: state.id,
        pid: state.pid.unwrap_or(0),
        status: state.status.name().to_owned(),
        bundle: state.bundle,
        rootfs: container.rootfs().to_owned(),
        created: timestamp(seconds, Some(nanos)),
        annotations: state.annotations,
        owner: owner(container.owner()),
    }
}

/// The document; its keys have the order of runc's.
#[derive(Default, Serialize)]
struct Shown {
    #[serde(rename = "ociVersion")]
    version: String,
    id: String,
    pid: i32,
    status: String,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

/// The name of a user, where the host's own file has it.
fn owner(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

pub(super) fn state(call: &Call) -> Result<u8> {
    let given = Given::read(&[], &call.args, true)?;
    let [name] = given.words("state ID")?;
    print_json(&shown(&call.load(name)?), true)
}

pub(super) fn list(call: &Call) -> Result<u8> {
    const FLAGS: [Flag; 2] = [value_or("format", 'f'), switch_or("quiet", 'q')];
    let given = Given::read(&FLAGS, &call.args, true)?;
    if call.root_named {
        // The default place is made with the first container; one that is named must be there.
        let root = &call.runtime.root;
        std::fs::metadata(root).map_err(|error| Error::path(root, "--root", &error))?;
    }
    let ids = call.runtime.list()?;
    if given.has("quiet") {
        return print(&ids.iter().fold(String::new(), |text, id| format!("{text}{id}\n")));
    }
    let mut rows = Vec::with_capacity(ids.len());
    for id in &ids {
        match call.runtime.load(id) {
            Ok(container) => rows.push(shown(&container)),
            // Removed meanwhile.
            Err(error) if error.kind == oci::Kind::NotFound => {}
            Err(error) => {
                call.log.warn(&error.to_string());
                let (id, status) = (id.to_string(), "unknown".to_owned());
                rows.push(Shown { id, status, ..Shown::default() });
            }
        }
    }
    match given.get("format") {
        Some("json") => print_json(&rows, false),
        None | Some("table") => print(&table(&rows)),
        Some(other) => Err(Error::invalid(format!("--format {other:?}"), "want table or json")),
    }
}

fn table(rows: &[Shown]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let cells = |row: &Shown| {
        let (pid, bundle) = (row.pid.to_string(), row.bundle.display().to_string());
        [&row.id, &pid, &row.status, &bundle, &row.created, &row.owner].map(Clone::clone)
    };
    let lines: Vec<[String; 6]> = [head].into_iter().chain(rows.iter().map(cells)).collect();
    let width =
        |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default() + 3;
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", cells.concat().trim_end());
    }
    text
}

pub(super) fn ps(call: &Call) -> Result<u8> {
    const FLAGS: [Flag; 1] = [value_or("format", 'f')];
    let given = Given::read(&FLAGS, &call.args, false)?;
    let Some((name, args)) = given.rest.split_first() else {
        return Err(Error::invalid("ps ID [ps options]", "names no container"));
    };
    let container = call.load(name)?;
    let pids = match container.cgroup().paths().is_none() {
        true => container.pid().into_iter().map(i32::unsigned_abs).collect(),
        false => container.cgroup().pids().map_err(Error::from)?,
    };
    match given.get("format") {
        Some("json") => print_json(&pids, false),
        None | Some("table") => ps_table(&pids, args),
        Some(other) => Err(Error::invalid(format!("--format {other:?}"), "want table or json")),
    }
}

/// The lines of ps(1) that are of these processes.
fn ps_table(pids: &[u32], args: &[String]) -> Result<u8> {
    let default = ["-ef".to_owned()];
    let args = if args.is_empty() { &default[..] } else { args };
    let done = std::process::Command::new("ps")
        .args(args)
        .output()
        .map_err(|error| Error::invalid("ps", error.to_string()))?;
    if !done.status.success() {
        return Err(Error::invalid("ps", String::from_utf8_lossy(&done.stderr).trim().to_owned()));
    }
    let out = String::from_utf8_lossy(&done.stdout);
    let mut lines = out.lines();
    let head = lines.next().unwrap_or_default();
    let Some(column) = head.split_whitespace().position(|name| name == "PID") else {
        return Err(Error::invalid("ps", "its options leave out the PID column"));
    };
    let of_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: u32| pids.contains(&pid))
    };
    print(&lines.filter(of_ours).fold(format!("{head}\n"), |text, line| format!("{text}{line}\n")))
}

pub(super) fn events(call: &Call) -> Result<u8> {
    const FLAGS: [Flag; 2] = [value("interval"), switch("stats")];
    let given = Given::read(&FLAGS, &call.args, true)?;
    let [name] = given.words("events ID")?;
    let container = call.load(name)?;
    if container.pid().is_none() {
        return Err(Error::new(oci::Kind::State, name, "container not running"));
    }
    if given.has("stats") {
        return stats(&container);
    }
    let interval = duration(given.get("interval").unwrap_or("5s"))?;
    let watch = container.cgroup().watch_oom().ok();
    let mut next = std::time::Instant::now();
    while container.pid().is_some() && container.status() != Status::Stopped {
        if std::time::Instant::now() >= next {
            stats(&container)?;
            next += interval;
        }
        // A group that cannot be read is gone, and the process with it.
        if watch.as_ref().is_some_and(|watch| watch.take().ok().flatten() == Some(true)) {
            print_json(&Event { kind: "oom", id: container.id(), data: None }, false)?;
        }
        let left = next.saturating_duration_since(std::time::Instant::now());
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(0)
}

fn stats(container: &Container) -> Result<u8> {
    let data = Some(container.stats()?);
    print_json(&Event { kind: "stats", id: container.id(), data }, false)
}

/// A line of `events`; readers know its keys in this order.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<cgroup::stats::Stats>,
}

/// A duration as Go programs write it: `5s`, `500ms`, `1m30s`.
fn duration(text: &str) -> Result<Duration> {
    let wrong = || Error::invalid(format!("--interval {text:?}"), "want a time such as 5s");
    let (mut total, mut rest) = (0_f64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).ok().filter(|d| !d.is_zero()).ok_or_else(wrong)
}
