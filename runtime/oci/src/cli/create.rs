//! create, start, run.

use super::flags::{Flag, Given, switch, switch_or, value, value_or};
use super::foreground::{self, Streams};
use super::{Call, write_pid};
use oci::{Bundle, ContainerId, CreateOptions, Created, Error, Result};
use std::path::{Path, PathBuf};

const FLAGS: [Flag; 10] = [
    value_or("bundle", 'b'),
    value("console-socket"),
    value("pidfd-socket"),
    value("pid-file"),
    value("preserve-fds"),
    switch("no-pivot"),
    switch("no-new-keyring"),
    switch_or("detach", 'd'),
    switch("keep"),
    switch("no-subreaper"),
];

/// Number of descriptors that systemd passes to whomever it starts (sd_listen_fds(3)).
pub(super) fn listen_fds() -> Option<u32> {
    std::env::var("LISTEN_FDS").ok()?.parse().ok().filter(|count| (1..=1024).contains(count))
}

pub(super) fn path(given: &Given, name: &str) -> Option<PathBuf> {
    given.get(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Descriptors that the process keeps: those asked for must be there.
pub(super) fn preserved(given: &Given) -> Result<u32> {
    let asked: u32 = given.number("preserve-fds")?.unwrap_or(0);
    let count = asked.saturating_add(listen_fds().unwrap_or(0)).min(4096);
    for number in 3..3 + count {
        if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
            return Err(Error::invalid(
                "--preserve-fds",
                format!("descriptor {number} is not open"),
            ));
        }
    }
    Ok(count)
}

fn options(given: &Given) -> Result<CreateOptions> {
    Ok(CreateOptions {
        console_socket: path(given, "console-socket"),
        pidfd_socket: path(given, "pidfd-socket"),
        preserve_fds: preserved(given)?,
        no_pivot: given.has("no-pivot"),
        no_new_keyring: given.has("no-new-keyring"),
        streams: None,
        filters: None,
    })
}

fn bundle(given: &Given) -> Result<Bundle> {
    let mut bundle = Bundle::open(Path::new(given.get("bundle").unwrap_or(".")))?;
    if let (Some(count), Some(process)) = (listen_fds(), &mut bundle.spec.process) {
        process.env.push(format!("LISTEN_FDS={count}"));
        process.env.push("LISTEN_PID=1".to_owned());
    }
    Ok(bundle)
}

/// Makes the container and writes its process's number; on failure nothing is left.
fn make(call: &Call, given: &Given, id: &ContainerId, bundle: &Bundle) -> Result<Created> {
    let created = call.runtime.create(id, bundle, &options(given)?).inspect_err(|_| {
        // They may tell why it failed.
        bundle.warnings().iter().for_each(|warning| call.log.warn(warning));
    })?;
    for warning in created.warnings() {
        call.log.warn(warning);
    }
    if let Err(error) = write_pid(given.get("pid-file"), created.pid()) {
        drop(created);
        // The failure above is what is reported.
        let _ = call.runtime.delete(id, true);
        return Err(error);
    }
    Ok(created)
}

pub(super) fn create(call: &Call) -> Result<u8> {
    let given = Given::read(&FLAGS, &call.args, true)?;
    let [name] = given.words("create ID")?;
    let (id, bundle) = (call.id(name)?, bundle(&given)?);
    let terminal = bundle.spec.process.as_ref().is_some_and(|process| process.terminal);
    if terminal && given.get("console-socket").is_none() {
        let cause =
            "process.terminal needs --console-socket, as nobody else would get the terminal";
        return Err(Error::invalid("create", cause));
    }
    make(call, &given, &id, &bundle)?;
    Ok(0)
}

pub(super) fn start(call: &Call) -> Result<u8> {
    let given = Given::read(&[], &call.args, true)?;
    let [name] = given.words("start ID")?;
    call.load(name)?.start()?;
    Ok(0)
}

pub(super) fn run(call: &Call) -> Result<u8> {
    let given = Given::read(&FLAGS, &call.args, true)?;
    let [name] = given.words("run ID")?;
    let (id, bundle) = (call.id(name)?, bundle(&given)?);
    let detach = given.has("detach");
    let terminal = bundle.spec.process.as_ref().is_some_and(|process| process.terminal);
    if terminal && detach && given.get("console-socket").is_none() {
        let cause = "process.terminal and --detach need --console-socket";
        return Err(Error::invalid("run", cause));
    }
    let signals = if detach { None } else { Some(foreground::Signals::take()?) };
    let created = make(call, &given, &id, &bundle)?;
    let cleanup = |error: Error| {
        // The failure is what is reported.
        let _ = call.runtime.delete(&id, true);
        error
    };
    let mut running = created.start().map_err(cleanup)?;
    let Some(signals) = signals else { return Ok(0) };
    let streams = Streams::new(running.take_terminal()).map_err(cleanup)?;
    let watched = foreground::watch(&signals, running.pidfd(), running.pid(), &streams);
    drop(streams);
    let status = watched.and_then(|()| running.wait());
    if given.has("keep") {
        drop(running);
    } else {
        drop(running);
        let mut tell = |error: Error| call.log.warn(&error.to_string());
        call.runtime.delete_telling(&id, true, &mut tell)?;
    }
    status.map(foreground::status)
}
