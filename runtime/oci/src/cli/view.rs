//! state, list, ps, events.

use super::flags::{Flag, Given, switch, switch_or, value, value_or};
use super::log::timestamp;
use super::{Call, print, print_json};
use oci::{Container, Error, Result};
use runtime_spec::Status;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// A container as `state` and `list` show it, in the form that runc has.
fn shown(container: &Container) -> Result<Value> {
    let state = container.state();
    let (seconds, nanos) = container.created();
    let mut shown = serde_json::to_value(&state)
        .map_err(|error| Error::invalid(container.id(), error.to_string()))?;
    shown["rootfs"] = json!(container.rootfs());
    shown["created"] = json!(timestamp(seconds, Some(nanos)));
    shown["owner"] = json!(owner(container.owner()));
    Ok(shown)
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
    print_json(&shown(&call.load(name)?)?, true)
}

pub(super) fn list(call: &Call) -> Result<u8> {
    const FLAGS: [Flag; 2] = [value_or("format", 'f'), switch_or("quiet", 'q')];
    let given = Given::read(&FLAGS, &call.args, true)?;
    let ids = call.runtime.list()?;
    if given.has("quiet") {
        return print(&ids.iter().fold(String::new(), |text, id| format!("{text}{id}\n")));
    }
    let mut rows = Vec::with_capacity(ids.len());
    for id in &ids {
        match call.runtime.load(id) {
            Ok(container) => rows.push(shown(&container)?),
            // Removed meanwhile.
            Err(error) if error.kind == oci::Kind::NotFound => {}
            Err(error) => {
                call.log.warn(&error.to_string());
                rows.push(
                    json!({"ociVersion": "", "id": id.as_str(), "pid": 0, "status": "unknown",
                    "bundle": "", "rootfs": "", "created": "", "owner": ""}),
                );
            }
        }
    }
    match given.get("format") {
        Some("json") => print_json(&rows, false),
        None | Some("table") => print(&table(&rows)),
        Some(other) => Err(Error::invalid(format!("--format {other:?}"), "want table or json")),
    }
}

fn table(rows: &[Value]) -> String {
    const COLUMNS: [&str; 6] = ["id", "pid", "status", "bundle", "created", "owner"];
    let cell = |row: &Value, column: &str| match &row[column] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let width = |column: &str| {
        let cells = rows.iter().map(|row| cell(row, column).len());
        cells.chain([column.len()]).max().unwrap_or_default() + 3
    };
    let widths = COLUMNS.map(width);
    let mut text = String::new();
    let head: Vec<String> = COLUMNS.iter().map(|column| column.to_uppercase()).collect();
    let body = rows.iter().map(|row| COLUMNS.iter().map(|column| cell(row, column)).collect());
    for line in [head].into_iter().chain(body) {
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
            print_json(&json!({"type": "oom", "id": container.id()}), false)?;
        }
        let left = next.saturating_duration_since(std::time::Instant::now());
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(0)
}

fn stats(container: &Container) -> Result<u8> {
    let data = container.stats()?;
    print_json(&json!({"type": "stats", "id": container.id(), "data": data}), false)
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
