//! The command line: global flags, and a table of commands.

mod change;
mod create;
mod exec;
mod features;
mod flags;
mod foreground;
mod log;
mod resources;
mod spec;
mod view;

use flags::{Given, switch, value};
use log::Log;
use oci::{ContainerId, Driver, Error, Result, Runtime};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status of a command that failed before its process ran; 1 as runc has it.
const FAILED: u8 = 1;

/// What every command gets.
struct Call {
    runtime: Runtime,
    /// The state root was named by its flag.
    root_named: bool,
    log: Log,
    args: Vec<String>,
}

type Command = fn(&Call) -> Result<u8>;

/// Commands and their functions; the value of each is the exit status.
const COMMANDS: [(&str, Command); 16] = [
    ("create", create::create),
    ("delete", change::delete),
    ("events", view::events),
    ("exec", exec::exec),
    ("features", features::features),
    ("kill", change::kill),
    ("list", view::list),
    ("pause", change::pause),
    ("ps", view::ps),
    ("resume", change::resume),
    ("run", create::run),
    ("spec", spec::spec),
    ("start", create::start),
    ("state", view::state),
    ("update", change::update),
    ("help", help),
];

const GLOBAL: [flags::Flag; 12] = [
    value("root"),
    value("log"),
    value("log-format"),
    switch("debug"),
    switch("systemd-cgroup"),
    value("cgroup-manager"),
    value("rootless"),
    value("criu"),
    flags::switch_or("version", 'v'),
    flags::switch_or("help", 'h'),
    value("log-level"),
    switch("systemd"),
];

/// Runs the program.
pub(super) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut log = Log::default();
    match dispatch(&args, &mut log) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            log.error(&error.to_string());
            ExitCode::from(FAILED)
        }
    }
}

fn dispatch(args: &[String], log: &mut Log) -> Result<u8> {
    let given = Given::read(&GLOBAL, args, false)?;
    log.path = given.get("log").filter(|path| !path.is_empty()).map(PathBuf::from);
    log.debug = given.has("debug");
    log.json = match given.get("log-format") {
        None | Some("" | "text") => false,
        Some("json") => true,
        Some(other) => {
            return Err(Error::invalid(format!("--log-format {other:?}"), "want text or json"));
        }
    };
    if given.has("version") {
        return print(&version());
    }
    let Some((name, rest)) = given.rest.split_first().filter(|_| !given.has("help")) else {
        return print(&usage());
    };
    let Some((_, command)) = COMMANDS.iter().find(|(known, _)| known == name) else {
        return Err(Error::invalid(name.as_str(), "is no command; see podloom-oci help"));
    };
    let root_named = given.get("root").is_some_and(|root| !root.is_empty());
    let call =
        Call { runtime: runtime(&given)?, root_named, log: log.clone(), args: rest.to_vec() };
    call.log.debug(&format!("{name} {rest:?} below {}", call.runtime.root.display()));
    command(&call)
}

fn runtime(given: &Given) -> Result<Runtime> {
    let root = rustix::process::geteuid().is_root();
    let rootless = match given.get("rootless") {
        None | Some("auto") => !root || in_user_namespace(),
        Some("true") => true,
        Some("false") => false,
        Some(other) => {
            return Err(Error::invalid(
                format!("--rootless {other:?}"),
                "want true, false or auto",
            ));
        }
    };
    let cgroups = match given.get("cgroup-manager") {
        Some("disabled") => None,
        Some("systemd") => Some(Driver::Systemd),
        _ if given.has("systemd-cgroup") => Some(Driver::Systemd),
        None | Some("cgroupfs") => Some(Driver::Cgroupfs),
        Some(other) => {
            let cause = "want cgroupfs, systemd or disabled";
            return Err(Error::invalid(format!("--cgroup-manager {other:?}"), cause));
        }
    };
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| rootless && !dir.is_empty());
    let default = own.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("podloom-oci");
    let path = given.get("root").filter(|root| !root.is_empty()).map_or(default, PathBuf::from);
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(Error::invalid(format!("--root {}", path.display()), "must not have .. in it"));
    }
    let path = std::path::absolute(&path).map_err(|e| Error::invalid("--root", e.to_string()))?;
    Ok(Runtime { root: path, cgroups, rootless })
}

/// Whether root here is nobody special on the host.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    !map.is_empty() && (fields.next(), fields.next()) != (Some("0"), Some("0"))
        || map.split_whitespace().nth(2).is_some_and(|size| size != "4294967295")
}

fn version() -> String {
    format!(
        "podloom-oci version {}\ncommit: {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("PODLOOM_COMMIT").unwrap_or("unknown"),
        runtime_spec::VERSION
    )
}

fn usage() -> String {
    let mut text = "podloom-oci [global flags] command [flags] [arguments]\n\ncommands:".to_owned();
    for (name, _) in COMMANDS {
        text.push(' ');
        text.push_str(name);
    }
    text.push_str(
        "\nglobal flags: --root DIR --log FILE --log-format text|json --debug --systemd-cgroup\n  \
         --cgroup-manager cgroupfs|systemd|disabled --rootless true|false|auto --version\n",
    );
    text
}

fn help(_: &Call) -> Result<u8> {
    print(&usage())
}

/// Writes a command's answer.
fn print(text: &str) -> Result<u8> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::invalid("standard output", error.to_string()))?;
    Ok(0)
}

/// A document as a command's answer.
fn print_json(value: &impl serde::Serialize, pretty: bool) -> Result<u8> {
    let text =
        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| Error::invalid("answer", error.to_string()))?;
    print(&format!("{text}\n"))
}

impl Call {
    fn id(&self, name: &str) -> Result<ContainerId> {
        ContainerId::new(name)
    }

    fn load(&self, name: &str) -> Result<oci::Container> {
        self.runtime.load(&ContainerId::new(name)?)
    }
}

/// Writes a process number, whole or not at all, for callers that wait for the file.
fn write_pid(path: Option<&str>, pid: i32) -> Result<()> {
    let Some(path) = path.filter(|path| !path.is_empty()).map(PathBuf::from) else { return Ok(()) };
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let early = path.with_file_name(name);
    let fail = |error: std::io::Error| {
        Error::invalid(format!("--pid-file {}", path.display()), error.to_string())
    };
    std::fs::write(&early, pid.to_string()).map_err(fail)?;
    std::fs::rename(&early, &path).map_err(fail)
}
