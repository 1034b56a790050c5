//! The daemon's command line: the reference's flags, written as it takes them.

use crate::config::SOCKET;
use crate::exchange::Patience;
use crate::store::prefixed;
use std::path::PathBuf;
use std::time::Duration;

/// What `dhcp daemon -help` prints.
pub(crate) const USAGE: &str = "\
usage: dhcp daemon [FLAG...]

  -socketpath PATH      where to listen (/run/cni/dhcp.sock); a socket that a service manager
                        passes is taken in its place. Leases are kept beside it
  -pidfile PATH         write the process number there
  -hostprefix PATH      in a container: where the node's file system is; goes before -socketpath
                        and the paths of network namespaces
  -broadcast            ask servers to broadcast their answers
  -timeout TIME         how long a server may take to confirm its offer (10s)
  -resendmax TIME       the longest pause between two tries (62s)
  -resendtimeout TIME   how long ADD waits for a lease (45s)

TIME is written as 500ms, 10s or 1m30s. SIGTERM ends the daemon; leases stay, and the next daemon
goes on with them.
";

/// How the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where it listens, with the prefix.
    pub(crate) socket: PathBuf,
    /// What goes before paths of the node; may be empty.
    pub(crate) prefix: String,
    /// Gets the process number.
    pub(crate) pidfile: Option<PathBuf>,
    /// Whether servers are asked to broadcast.
    pub(crate) broadcast: bool,
    /// Of clients.
    pub(crate) patience: Patience,
    /// How long ADD waits.
    pub(crate) limit: Duration,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// To run.
    Run(Settings),
    /// To be told how.
    Help,
}

/// Reads the words behind `daemon`.
///
/// # Errors
/// What is wrong, with the flag.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut settings = Settings {
        socket: PathBuf::from(SOCKET),
        prefix: String::new(),
        pidfile: None,
        broadcast: false,
        patience: Patience { resend: Duration::from_secs(62), answer: Duration::from_secs(10) },
        // Less than what runtimes allow a plugin, so that they are told the reason; more than the
        // half minute that a spanning tree lets nothing pass.
        limit: Duration::from_secs(45),
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        let flag = flag.filter(|f| !f.is_empty()).ok_or_else(|| format!("{word:?} is no flag"))?;
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if name == "broadcast" {
            settings.broadcast = boolean(given.as_deref())?;
            continue;
        }
        if matches!(name, "help" | "h") {
            return Ok(Command::Help);
        }
        let mut value = || {
            given.clone().or_else(|| words.next()).ok_or_else(|| format!("-{name}: needs a value"))
        };
        match name {
            "socketpath" => settings.socket = absolute(name, &value()?)?,
            "pidfile" => settings.pidfile = Some(absolute(name, &value()?)?),
            "hostprefix" => settings.prefix = value()?,
            "timeout" => settings.patience.answer = duration(name, &value()?)?,
            "resendmax" => settings.patience.resend = duration(name, &value()?)?,
            "resendtimeout" => settings.limit = duration(name, &value()?)?,
            _ => return Err(format!("-{name}: is no flag of the daemon")),
        }
    }
    settings.socket = prefixed(&settings.prefix, &settings.socket);
    Ok(Command::Run(settings))
}

fn absolute(flag: &str, text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("-{flag}: {text:?} is not absolute")) }
}

fn boolean(given: Option<&str>) -> Result<bool, String> {
    match given {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("-broadcast: {other:?} is neither true nor false")),
    }
}

/// A time as programs in Go write it: numbers with units, one after another. Zero is none.
fn duration(flag: &str, text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 7] = [
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ns", 1e-9),
        ("h", 3600.0),
        ("m", 60.0),
        ("s", 1.0),
    ];
    let wrong = || format!("-{flag}: {text:?} is no time like 500ms, 10s or 1m30s");
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(end);
        let found = UNITS.iter().find(|(name, _)| unit.starts_with(name)).ok_or_else(wrong)?;
        seconds += number.parse::<f64>().map_err(|_| wrong())? * found.1;
        rest = unit.get(found.0.len()..).unwrap_or_default();
    }
    let whole = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if whole.is_zero() { Err(wrong()) } else { Ok(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_taken_in_all_their_forms() {
        let Command::Run(settings) = read(
            "-socketpath /a.sock --pidfile=/b -hostprefix /host -broadcast=false -broadcast \
             -timeout 500ms -resendmax=1m30s -resendtimeout 1.5h",
        )
        .expect("valid") else {
            panic!("not to run");
        };
        assert_eq!(settings.socket, Path::new("/host/a.sock"));
        assert_eq!(settings.pidfile.as_deref(), Some(Path::new("/b")));
        assert!(settings.broadcast);
        assert_eq!(settings.patience.answer, Duration::from_millis(500));
        assert_eq!(settings.patience.resend, Duration::from_secs(90));
        assert_eq!(settings.limit, Duration::from_secs(5400));
        assert_eq!(read("-h"), Ok(Command::Help));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, about) in [
            ("-x", "-x"),
            ("run", "run"),
            ("-pidfile", "-pidfile"),
            ("-pidfile p", "-pidfile"),
            ("-socketpath p", "-socketpath"),
            ("-timeout 10", "-timeout"),
            ("-timeout 0s", "-timeout"),
            ("-timeout -1s", "-timeout"),
            ("-timeout 1x", "-timeout"),
            ("-broadcast=maybe", "-broadcast"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(about), "{line}: {error}");
        }
    }
}
