//! Running another plugin from inside a plugin (CNI 1.1.0, section 4).

use crate::{Output, Verb, find, interpret};
use cni_types::{Code, Error, PluginType, Result};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Environment variable with the process ID of the plugin that runs a delegate.
///
/// A delegate of ours ends itself when that process is gone, so that a killed plugin leaves no
/// IPAM plugin behind that allocates an address after the runtime's DEL.
pub const DELEGATE_PARENT: &str = "PODLOOM_DELEGATE_PARENT";

/// A started plugin that waits for its configuration.
#[derive(Debug)]
pub struct Delegate {
    plugin: PluginType,
    verb: Verb,
    child: Child,
}

impl Delegate {
    /// Starts `plugin` for `verb`, with the caller's environment but for `CNI_COMMAND`.
    ///
    /// Its standard error is the caller's. Must be called on the main thread, as a delegate of
    /// ours ends with the thread that started it.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] when it is not in `path`, [`Code::Program`] when it does not start.
    pub fn start(plugin: &PluginType, verb: Verb, path: &[PathBuf]) -> Result<Delegate> {
        Delegate::start_with(plugin, verb, path, &[])
    }

    /// As [`Delegate::start`], with these variables over the caller's.
    ///
    /// # Errors
    /// As [`Delegate::start`].
    pub fn start_with(
        plugin: &PluginType,
        verb: Verb,
        path: &[PathBuf],
        variables: &[(&str, &str)],
    ) -> Result<Delegate> {
        let program = find(plugin, path)?;
        let mut command = Command::new(&program);
        command
            .env("CNI_COMMAND", verb.as_str())
            .env(DELEGATE_PARENT, std::process::id().to_string())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(args) = tolerant_args() {
            command.env("CNI_ARGS", args);
        }
        let child = spawn(&mut command).map_err(|e| {
            Error::new(
                Code::Program,
                format!("plugin {plugin}: {} cannot be run: {e}", program.display()),
            )
        })?;
        Ok(Delegate { plugin: plugin.clone(), verb, child })
    }

    /// Gives the plugin its configuration; it starts its work now.
    ///
    /// # Errors
    /// [`Code::Io`] when the pipe fails. A plugin that ended without reading is no failure here:
    /// [`Delegate::finish`] tells why it ended.
    pub fn feed(&mut self, config: &Value) -> Result<()> {
        let Some(mut stdin) = self.child.stdin.take() else { return Ok(()) };
        match stdin.write_all(config.to_string().as_bytes()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => {
                Err(Error::io(format!("plugin {}: writing its configuration", self.plugin), &e))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the plugin's end and reads what it printed.
    ///
    /// # Errors
    /// As [`interpret`]; [`Code::Io`] when its output cannot be read.
    pub fn finish(mut self) -> Result<Option<Value>> {
        drop(self.child.stdin.take());
        let mut stdout = Vec::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_end(&mut stdout).map_err(|e| {
                Error::io(format!("plugin {}: reading its output", self.plugin), &e)
            })?;
        }
        let status = self
            .child
            .wait()
            .map_err(|e| Error::io(format!("plugin {}: waiting for its end", self.plugin), &e))?;
        interpret(self.plugin.as_str(), self.verb, &Output { status, stdout, stderr: Vec::new() })
    }

    /// Starts, feeds and finishes in one.
    ///
    /// # Errors
    /// As the three steps.
    pub fn run(
        plugin: &PluginType,
        verb: Verb,
        path: &[PathBuf],
        config: &Value,
    ) -> Result<Option<Value>> {
        let mut delegate = Delegate::start(plugin, verb, path)?;
        delegate.feed(config)?;
        delegate.finish()
    }
}

impl Drop for Delegate {
    /// A delegate that nobody finished is reaped; without its configuration it ends at once.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.stdout.take());
        // Already reaped after `finish`: then this returns the remembered status.
        let _reaped = self.child.wait();
    }
}

/// How often, and in what steps, a program that is just being replaced is tried again.
const BUSY_TRIES: u32 = 5;
const BUSY_STEP: Duration = Duration::from_millis(20);

/// Starts a program; one whose file is open for writing (`ETXTBSY`), as when it is copied over in
/// place, is tried again.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let mut tries = 1;
    loop {
        match command.spawn() {
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                std::thread::sleep(BUSY_STEP * tries);
                tries += 1;
            }
            other => return other,
        }
    }
}

/// `CNI_ARGS` for a delegate: as received, plus `IgnoreUnknown=1`.
///
/// A key meant for the outer plugin (`MAC`) is unknown to an IPAM plugin, and plugins made with
/// the Go library refuse unknown keys unless told not to.
fn tolerant_args() -> Option<String> {
    let args = std::env::var("CNI_ARGS").ok().filter(|a| !a.trim().is_empty())?;
    let told = args.split(';').any(|pair| pair.trim_start().starts_with("IgnoreUnknown="));
    (!told).then(|| format!("{};IgnoreUnknown=1", args.trim_end_matches(';')))
}
