//! exec.

use super::create::{listen_fds, path, preserved};
use super::flags::{Flag, Given, switch, switch_or, value, value_or};
use super::foreground::{self, Streams};
use super::{Call, write_pid};
use oci::{Container, Error, ExecOptions, Result};
use runtime_spec::{Process, User};
use std::io::Read;

const FLAGS: [Flag; 18] = [
    value_or("process", 'p'),
    switch_or("tty", 't'),
    value_or("user", 'u'),
    value_or("additional-gids", 'g'),
    value("cwd"),
    value_or("env", 'e'),
    value_or("cap", 'c'),
    switch("no-new-privs"),
    value("apparmor"),
    value("process-label"),
    value("pid-file"),
    value("console-socket"),
    value("pidfd-socket"),
    switch_or("detach", 'd'),
    value("preserve-fds"),
    switch("ignore-paused"),
    value("cgroup"),
    switch("no-subreaper"),
];

/// Exit status when no process was added, apart from what a process may end with; as runc has it.
const NOT_ADDED: u8 = 255;

pub(super) fn exec(call: &Call) -> Result<u8> {
    add(call).or_else(|error| {
        call.log.error(&error.to_string());
        Ok(NOT_ADDED)
    })
}

fn add(call: &Call) -> Result<u8> {
    let given = Given::read(&FLAGS, &call.args, false)?;
    let Some((name, words)) = given.rest.split_first() else {
        return Err(Error::invalid("exec ID [COMMAND...]", "names no container"));
    };
    let container = call.load(name)?;
    let mut process = process(&given, &container, words)?;
    if let Some(count) = listen_fds() {
        process.env.push(format!("LISTEN_FDS={count}"));
    }
    let options = ExecOptions {
        console_socket: path(&given, "console-socket"),
        pidfd_socket: path(&given, "pidfd-socket"),
        preserve_fds: preserved(&given)?,
        ignore_paused: given.has("ignore-paused"),
        no_new_keyring: false,
        cgroups: given.all("cgroup").filter(|wish| !wish.is_empty()).map(str::to_owned).collect(),
        streams: None,
        filters: None,
    };
    let detach = given.has("detach");
    if process.terminal && detach && options.console_socket.is_none() {
        let cause = "a terminal and --detach need --console-socket";
        return Err(Error::invalid("exec", cause));
    }
    let signals = if detach { None } else { Some(foreground::Signals::take()?) };
    let mut executed = container.exec(&process, &options)?;
    write_pid(given.get("pid-file"), executed.pid)?;
    let Some(signals) = signals else { return Ok(0) };
    let streams = Streams::new(executed.take_terminal())?;
    foreground::watch(&signals, executed.pidfd(), executed.pid, &streams)?;
    drop(streams);
    executed.wait().map(foreground::status)
}

/// The process: a document, or the container's own with what the flags change.
fn process(given: &Given, container: &Container, words: &[String]) -> Result<Process> {
    if let Some(path) = given.get("process").filter(|path| !path.is_empty()) {
        let fail =
            |error: std::io::Error| Error::invalid(format!("--process {path}"), error.to_string());
        let mut text = Vec::new();
        let bound = runtime_spec::DOCUMENT_MAX as u64 + 1;
        std::fs::File::open(path)
            .map_err(fail)?
            .take(bound)
            .read_to_end(&mut text)
            .map_err(fail)?;
        return Ok(Process::from_json(&text)?);
    }
    if words.is_empty() {
        return Err(Error::invalid("exec ID COMMAND", "names no command"));
    }
    let spec = container.spec()?;
    let mut process = spec.process.unwrap_or_default();
    process.args = words.to_vec();
    process.terminal = given.has("tty");
    process.console_size = None;
    if let Some(cwd) = given.get("cwd").filter(|cwd| !cwd.is_empty()) {
        process.cwd = cwd.into();
    }
    process.env.extend(given.all("env").map(str::to_owned));
    if given.has("no-new-privs") {
        process.no_new_privileges = true;
    }
    if let Some(profile) = given.get("apparmor") {
        process.apparmor_profile = Some(profile.to_owned());
    }
    if let Some(label) = given.get("process-label") {
        process.selinux_label = Some(label.to_owned());
    }
    if let Some(user) = given.get("user") {
        process.user =
            User { additional_gids: process.user.additional_gids.clone(), ..user_of(user)? };
    }
    for list in given.all("additional-gids") {
        for gid in list.split(',') {
            process.user.additional_gids.push(id(gid)?);
        }
    }
    add_capabilities(given, &mut process);
    Ok(process)
}

/// `UID` or `UID:GID`, numbers only: names are the caller's to look up.
fn user_of(text: &str) -> Result<User> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    Ok(User { uid: id(uid)?, gid: id(gid)?, ..User::default() })
}

fn id(text: &str) -> Result<u32> {
    let number =
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    number.ok_or_else(|| Error::invalid(format!("{text:?}"), "is no numeric user or group ID"))
}

/// Adds them to the sets that give privilege now; never to the inheritable one (CVE-2022-29162),
/// but where the container's own process has them there.
fn add_capabilities(given: &Given, process: &mut Process) {
    for name in given.all("cap").flat_map(|list| list.split(',')) {
        let sets = process.capabilities.get_or_insert_default();
        let inherited = sets.inheritable.iter().any(|known| known == name);
        let ambient = inherited.then_some(&mut sets.ambient);
        let privileges = [&mut sets.bounding, &mut sets.effective, &mut sets.permitted];
        for set in privileges.into_iter().chain(ambient) {
            if !set.iter().any(|known| known == name) {
                set.push(name.to_owned());
            }
        }
    }
}
