//! iptables by whole transactions: one `iptables-restore` per family and change.
//!
//! Facts this rests on, seen with iptables 1.8.9 over nf_tables and over the legacy tables alike:
//! with `--noflush` a `:CHAIN - [0:0]` line makes a chain or empties it; `-D`, `-F`, `-X` and `-C`
//! lines are allowed; any line that fails leaves the whole table as it was, and the message on
//! stderr has the line's number.

mod child;
mod rules;
mod tables;

use crate::names::CHAIN_LEN;
use crate::nft::{self, Nft};
use cni_types::{Code, Error, Result};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub use rules::{SavedRule, has_nft_chain, rules_of, rules_of_table};
pub(crate) use tables::{Listed, Tables};

/// Seconds to wait for the lock of the legacy tables.
const LOCK_SECONDS: &str = "30";
/// Where the programs are when `PATH` does not say.
const USUAL_DIRS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];
/// Longest comment that iptables takes, in bytes.
const COMMENT_MAX: usize = 255;

/// Which of the two sets of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `iptables`.
    V4,
    /// `ip6tables`.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(ip: std::net::IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Name of the program for single commands.
    pub fn program(self) -> &'static str {
        match self {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }

    /// Name of the program for transactions.
    pub fn restore_program(self) -> &'static str {
        match self {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        }
    }

    /// The nf_tables family that iptables works on, where it works on nf_tables.
    pub(crate) fn over_nft(self) -> nft::Family {
        match self {
            Family::V4 => nft::Family::Ip,
            Family::V6 => nft::Family::Ip6,
        }
    }

    /// Where the kernel lists the legacy tables in use in this namespace.
    fn legacy_tables(self) -> &'static str {
        match self {
            Family::V4 => "/proc/thread-self/net/ip_tables_names",
            Family::V6 => "/proc/thread-self/net/ip6_tables_names",
        }
    }
}

/// Path of `program`: in `PATH`, or where distributions put it.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(USUAL_DIRS.map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Whether the programs of `family` are installed. Says nothing about the kernel: see [`probe`].
pub fn is_installed(family: Family) -> bool {
    find_program(family.restore_program()).is_some()
}

/// Whether the programs of `family` write nf_tables. A missing program counts as such: then the
/// legacy tables cannot be reached at all.
pub(crate) fn is_over_nft(family: Family) -> bool {
    let program = find_program(family.restore_program());
    program.and_then(|path| path.canonicalize().ok()).is_none_or(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains("nft"))
    })
}

/// Whether a chain of an operator's can have this name: one that iptables takes, and that means
/// nothing to it already.
pub fn is_chain_name(name: &str) -> bool {
    const TAKEN: [&str; 9] = [
        "ACCEPT",
        "DROP",
        "RETURN",
        "QUEUE",
        "INPUT",
        "FORWARD",
        "OUTPUT",
        "PREROUTING",
        "POSTROUTING",
    ];
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    !name.is_empty()
        && name.len() <= CHAIN_LEN
        && !name.starts_with('-')
        && name.chars().all(is_part)
        && !TAKEN.contains(&name)
}

/// Whether this namespace has a legacy table `table` of `family`. Costs no process.
pub fn has_legacy_table(family: Family, table: &str) -> bool {
    std::fs::read_to_string(family.legacy_tables())
        .is_ok_and(|names| names.lines().any(|name| name == table))
}

/// A comment as an iptables-restore argument: in quotes, cut to what iptables takes.
pub fn quoted(comment: &str) -> String {
    let mut end = comment.len().min(COMMENT_MAX);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    let mut text = String::with_capacity(end + 8);
    text.push('"');
    for c in comment[..end].chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// A transaction on one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    family: Family,
    text: String,
}

impl Script {
    /// An empty transaction on `table`.
    pub fn new(family: Family, table: &str) -> Script {
        Script { family, text: format!("*{table}\n") }
    }

    /// Appends a line: `:CHAIN - [0:0]`, `-A CHAIN ...`, `-D CHAIN ...`, `-F CHAIN`, `-X CHAIN`.
    pub fn line(&mut self, line: impl fmt::Display) -> &mut Script {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
        self
    }

    /// The lines so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Runs the transaction and waits for it.
    ///
    /// # Errors
    /// [`Code::Program`] with the failing line and what the program said.
    pub fn run(self) -> Result<()> {
        self.start(&[])?.finish()
    }

    /// Starts the transaction; that of the other family can run at the same time.
    ///
    /// # Errors
    /// [`Code::Program`] when the program is missing or cannot be started.
    pub fn spawn(self) -> Result<Running> {
        self.start(&[])
    }

    fn start(mut self, options: &[&str]) -> Result<Running> {
        self.text.push_str("COMMIT\n");
        let name = self.family.restore_program();
        let path = find_program(name).ok_or_else(|| missing(name))?;
        let mut command = Command::new(path);
        command
            .args(["--noflush", "--wait", LOCK_SECONDS])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        child::ends_with_its_parent(&mut command);
        let mut child = command
            .spawn()
            .map_err(|e| Error::new(Code::Program, format!("{name}: cannot be started: {e}")))?;
        // A program that fails early closes its end; what it says on stderr is the better error.
        let sent = match child.stdin.take() {
            Some(mut stdin) => stdin.write_all(self.text.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        Ok(Running { child, script: self, sent })
    }
}

/// A transaction under way. Dropped unfinished, its process is still waited for.
#[must_use = "finish it to learn whether it worked"]
pub struct Running {
    child: Child,
    script: Script,
    sent: io::Result<()>,
}

impl Running {
    /// Waits for the end.
    ///
    /// # Errors
    /// [`Code::Program`] with the failing line and what the program said.
    pub fn finish(mut self) -> Result<()> {
        let name = self.script.family.restore_program();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut stderr, &mut bytes).map_err(|e| Error::io(name, &e))?;
            said = String::from_utf8_lossy(&bytes).into_owned();
        }
        let status = self.child.wait().map_err(|e| Error::io(name, &e))?;
        if !status.success() {
            return Err(failure(name, &self.script.text, &said, &status.to_string()));
        }
        match &self.sent {
            Ok(()) => Ok(()),
            Err(e) => {
                Err(Error::new(Code::Program, format!("{name}: did not read its input: {e}")))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already waited for after `finish`; then this returns the status it had.
        let _ = self.child.wait();
    }
}

/// Whether `table` of `family` can be used in this namespace.
///
/// # Errors
/// [`Code::Program`]: the programs are missing, or the kernel refuses.
pub fn probe(family: Family, table: &str) -> Result<()> {
    Script::new(family, table).start(&["--test"])?.finish()
}

/// Whether `table` of `family` works in this namespace; asks without a process where it can.
pub fn is_usable(family: Family, table: &str) -> bool {
    if !is_installed(family) {
        return false;
    }
    if is_over_nft(family) {
        return Nft::open().and_then(|mut nft| nft.generation()).is_ok();
    }
    has_legacy_table(family, table) || probe(family, table).is_ok()
}

/// The program for single questions.
///
/// Made by hand rather than by the constructor, which runs the program for its version: every
/// iptables since 2013 has these options. Its calls that take a whole rule as text are not used:
/// they bring a regular expression engine, a third of a plugin's size, into every start.
pub(crate) fn single(family: Family) -> ::iptables::IPTables {
    ::iptables::IPTables {
        cmd: family.program(),
        has_check: true,
        has_wait: true,
        is_numeric: true,
    }
}

fn missing(name: &str) -> Error {
    Error::new(Code::Program, format!("{name}: is not installed"))
        .with_details("install the iptables package, or choose the nftables backend")
}

fn failure(name: &str, script: &str, said: &str, status: &str) -> Error {
    let words: Vec<&str> = said.lines().map(str::trim).filter(|l| is_cause(l)).collect();
    let cause = if words.is_empty() { status.to_owned() } else { words.join("; ") };
    let error = Error::new(Code::Program, format!("{name}: {cause}"));
    match failing_line(said).and_then(|n| script.lines().nth(n - 1)) {
        Some(line) => error.with_details(format!("the line {line:?} was refused")),
        None => error,
    }
}

/// Leaves out the advice to read the manual.
fn is_cause(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("Try `")
}

/// The number behind the first "line" in the program's words.
fn failing_line(said: &str) -> Option<usize> {
    said.split("line").skip(1).find_map(|rest| {
        let digits = rest.trim_start_matches([':', ' ']);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok().filter(|n| *n > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_line_is_named() {
        let script = "*nat\n-F CNI-a\n-X CNI-a\nCOMMIT\n";
        let says = [
            ("iptables-nft-restore v1.8.9 (nf_tables): \nline 3: CHAIN_DEL failed (Busy)", "-X"),
            ("iptables-restore: line 2 failed", "-F"),
            ("x: Chain 'a' does not exist\nError occurred at line: 2\nTry `x -h' for more", "-F"),
        ];
        for (said, line) in says {
            let error = failure("iptables-restore", script, said, "exit status: 1");
            assert_eq!(error.code, Code::Program);
            assert_eq!(error.details, format!("the line \"{line} CNI-a\" was refused"));
            assert!(!error.msg.contains("Try"), "{error}");
        }
        let error = failure("iptables-restore", script, "", "signal: 9");
        assert_eq!(error.msg, "iptables-restore: signal: 9");
    }

    #[test]
    fn comments_are_quoted_and_cut() {
        assert_eq!(quoted(r#"name: "a""#), r#""name: \"a\"""#);
        assert_eq!(quoted(&"é".repeat(200)).len(), 254 + 2);
    }

    #[test]
    fn chain_names_are_those_that_iptables_takes() {
        for name in ["CNI-ADMIN", "a", "KUBE_x.y:z"] {
            assert!(is_chain_name(name), "{name}");
        }
        for name in ["", "-a", "a b", "a\n", "ACCEPT", "FORWARD", &"x".repeat(29)] {
            assert!(!is_chain_name(name), "{name}");
        }
    }

    #[test]
    fn a_script_is_one_transaction() {
        let mut script = Script::new(Family::V4, "nat");
        script.line(":A - [0:0]").line(format_args!("-A A -s {}", "10.0.0.1"));
        assert_eq!(script.text(), "*nat\n:A - [0:0]\n-A A -s 10.0.0.1\n");
    }
}
