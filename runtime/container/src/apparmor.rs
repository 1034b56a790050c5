//! AppArmor: which profiles are in the kernel, and the default one, which is made and loaded here.

use crate::shared::Shared;
use crate::{Error, Kind, Result};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The profile that is made and loaded here.
pub const DEFAULT_PROFILE: &str = "podloom-default";

/// Names of loaded profiles; not there without AppArmor.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// Compiles profiles: the kernel takes them compiled only.
const PARSER: &str = "apparmor_parser";

/// How long the parser may take. A machine that has only begun its boot needs seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the default profile's rules are written for. Kernels that mediate more let that through then,
/// instead of denying what no rule speaks of.
const ABI: &str = "/etc/apparmor.d/abi/3.0";

/// Programs whose own profiles some distributions load: the signals that they send a container for
/// the runtime must reach it.
const SENDERS: [&str; 3] = ["unconfined", "runc", "crun"];

const RULES: &str = include_str!("apparmor/default.profile");

/// What has become of the default profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultProfile {
    /// In the kernel.
    Loaded,
    /// This node has no AppArmor.
    NoAppArmor,
    /// This node has no program that loads profiles.
    NoParser,
}

/// AppArmor of this node.
#[derive(Debug, Default)]
pub(crate) struct AppArmor {
    /// Held while the default profile is loaded: once is enough for all who miss it.
    loading: Mutex<()>,
}

impl AppArmor {
    /// Loads the default profile in place of an earlier daemon's. Blocks.
    ///
    /// # Errors
    /// What the parser said.
    pub(crate) fn renew_default(&self) -> Result<DefaultProfile> {
        let _turn = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded()? {
            Some(_) => load_default(),
            None => Ok(DefaultProfile::NoAppArmor),
        }
    }

    /// Loads the default profile if it is not there: tools that tidy up unload what no file of
    /// `/etc/apparmor.d` names. Blocks.
    ///
    /// # Errors
    /// What the parser said.
    pub(crate) fn ensure_default(&self) -> Result<DefaultProfile> {
        match has_profile(DEFAULT_PROFILE)? {
            None => return Ok(DefaultProfile::NoAppArmor),
            Some(true) => return Ok(DefaultProfile::Loaded),
            Some(false) => {}
        }
        let _turn = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        match has_profile(DEFAULT_PROFILE)? {
            Some(true) => Ok(DefaultProfile::Loaded),
            Some(false) | None => load_default(),
        }
    }
}

/// Loads the default profile beside all that a start does, and says how that went. It is loaded at each
/// start: the one in the kernel may be of an older release.
pub(crate) fn begin(shared: &Arc<Shared>) {
    if shared.settings.apparmor_profile.as_deref() != Some(DEFAULT_PROFILE) {
        return;
    }
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || match shared.node.apparmor.renew_default() {
        Ok(DefaultProfile::Loaded) => {
            tracing::info!(profile = DEFAULT_PROFILE, "AppArmor confines containers")
        }
        Ok(DefaultProfile::NoAppArmor) => tracing::debug!("this node has no AppArmor"),
        Ok(DefaultProfile::NoParser) => tracing::warn!(
            advice = "install apparmor_parser, or set containers.apparmor_profile to \"\"",
            "AppArmor is enabled, but containers are not confined by it"
        ),
        Err(e) => tracing::error!(error = %e, "no container is made that AppArmor would confine"),
    });
}

/// Whether a profile is loaded; `None` without AppArmor.
///
/// # Errors
/// The list cannot be read.
pub(crate) fn has_profile(name: &str) -> Result<Option<bool>> {
    // `name (mode)`; names may have spaces.
    let is_it = |line: &str| line.rsplit_once(" (").is_some_and(|(loaded, _)| loaded == name);
    Ok(loaded()?.map(|text| text.lines().any(is_it)))
}

fn loaded() -> Result<Option<String>> {
    match std::fs::read_to_string(LOADED) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(LOADED, &e)),
    }
}

fn load_default() -> Result<DefaultProfile> {
    let Some(parser) = parser() else { return Ok(DefaultProfile::NoParser) };
    let label = ["apparmor/current", "current"]
        .iter()
        .find_map(|name| std::fs::read_to_string(format!("/proc/self/attr/{name}")).ok());
    let text = default_profile(label.as_deref().unwrap_or_default(), Path::new(ABI).exists());
    run(&parser, &text)?;
    Ok(DefaultProfile::Loaded)
}

/// The default profile, for a daemon that runs under `label`, with the text form of the field.
fn default_profile(label: &str, abi: bool) -> String {
    let own = label.trim().rsplit_once(" (").map_or("unconfined", |(name, _)| name);
    let sound = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let own = Some(own).filter(|name| !SENDERS.contains(name) && name.chars().all(sound));
    let mut text = match abi {
        true => "abi <abi/3.0>,\n".to_owned(),
        false => String::new(),
    };
    text.push_str("@{PROC} = /proc\n");
    let flags = "attach_disconnected,mediate_deleted";
    let _infallible = writeln!(text, "profile {DEFAULT_PROFILE} flags=({flags}) {{");
    for sender in SENDERS.into_iter().chain(own) {
        let _infallible = writeln!(text, "  signal (receive) peer={sender},");
    }
    text.push_str(RULES);
    text.push_str("}\n");
    text
}

/// Where the parser is. Services have a path without directories of administrators' programs on some
/// distributions.
fn parser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(PARSER)).find(|file| file.is_file())
}

/// Has a profile loaded, in place of one of its name.
fn run(parser: &Path, profile: &str) -> Result<()> {
    let subject = || format!("AppArmor profile {DEFAULT_PROFILE:?}");
    let advice = "see that apparmor_parser works on this node, or set containers.apparmor_profile \
                  to \"\": no profile";
    let fail = |cause: String| Error::new(Kind::Unavailable, subject(), cause).with_advice(advice);
    let mut command = Command::new(parser);
    command.args(["--replace", "--skip-cache"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child.map_err(|e| fail(format!("{}: {e}", parser.display())))?;
    // Shorter than what a pipe holds: nobody waits here. One that does not read it says why below.
    let written = child.stdin.take().map(|mut input| input.write_all(profile.as_bytes()));
    let ended = wait(&mut child).map_err(|e| fail(format!("{}: {e}", parser.display())))?;
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        let read = errors.take(4096).read_to_string(&mut said);
        read.map_err(|e| fail(format!("what {} said: {e}", parser.display())))?;
    }
    match (ended, written) {
        (Some(status), Some(Ok(()))) if status.success() => Ok(()),
        (Some(status), _) => {
            Err(fail(format!("{} did not load it ({status}): {}", parser.display(), said.trim())))
        }
        (None, _) => Err(fail(format!("{} took over {PATIENCE:?}", parser.display()))),
    }
}

/// How the parser ended; `None` when it had to be killed.
fn wait(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_with_a_profile_of_its_own_may_signal() {
        let receive = "signal (receive) peer=";
        let free = default_profile("unconfined\n", true);
        assert!(free.starts_with("abi <abi/3.0>,\n"), "{free}");
        assert_eq!(free.matches(receive).count(), SENDERS.len());
        assert_eq!(free, default_profile("", true));
        let bound = default_profile("/usr/bin/podloomd (enforce)\n", false);
        assert!(bound.contains("signal (receive) peer=/usr/bin/podloomd,\n"), "{bound}");
        assert!(!bound.starts_with("abi"), "{bound}");
        let odd = default_profile("a} b//&c (enforce)", false);
        assert_eq!(odd.matches(receive).count(), SENDERS.len());
    }

    #[test]
    fn a_parser_that_fails_is_quoted() {
        // A program that knows none of the parser's options, and says so.
        let e = run(Path::new("/bin/ls"), &default_profile("", false)).unwrap_err();
        assert_eq!(e.kind(), Kind::Unavailable);
        assert!(e.to_string().contains("--replace"), "{e}");
        let e = run(Path::new("/no/such/parser"), "").unwrap_err();
        assert!(e.to_string().contains("/no/such/parser"), "{e}");
    }
}
