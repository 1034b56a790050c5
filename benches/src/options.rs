//! The command line.

use crate::error::{Error, Result};
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: benches cni --cni-dir DIR [options]

Measures the plugins in DIR beside the reference plugins, in turn, in network namespaces
of its own. Needs root, a C compiler, iproute2, iptables and nftables.

  --cni-dir DIR   the plugins to measure
  --peer DIR      the reference plugins (default /usr/lib/cni)
  --quick         fewer rounds: below three minutes (default)
  --full          more rounds, and the slow set-ups too
  --rounds N      exactly N rounds in each scenario
  --only A,B      only these scenarios; flat means all that begin with flat-
  --data DIR      where leases are kept (default: the temporary directory)
  --without-cni   only the reference and the floor
  -o FILE         all figures as JSON";

/// How many rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Quick,
    Full,
}

/// A valid command line.
#[derive(Debug)]
pub(crate) struct Options {
    /// The plugins under measurement; `None` measures the reference alone.
    pub(crate) cni_dir: Option<PathBuf>,
    pub(crate) peer: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) rounds: Option<usize>,
    pub(crate) only: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) output: Option<PathBuf>,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    Run(Options),
    Help,
}

impl Options {
    /// Reads the arguments after `cni`.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Parsed> {
        let mut args = args.into_iter();
        let mut options = Options {
            cni_dir: None,
            peer: PathBuf::from("/usr/lib/cni"),
            mode: Mode::Quick,
            rounds: None,
            only: Vec::new(),
            data: std::env::temp_dir(),
            output: None,
        };
        let mut without = false;
        while let Some(flag) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| Error::new(&flag, "a value must follow it"));
            match flag.as_str() {
                "--cni-dir" => options.cni_dir = Some(absolute(&value()?)?),
                "--peer" => options.peer = absolute(&value()?)?,
                "--data" => options.data = absolute(&value()?)?,
                "-o" | "--output" => options.output = Some(absolute(&value()?)?),
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--rounds" => options.rounds = Some(count(&flag, &value()?)?),
                "--quick" => options.mode = Mode::Quick,
                "--full" => options.mode = Mode::Full,
                "--without-cni" => without = true,
                "--help" | "-h" => return Ok(Parsed::Help),
                other => return Err(Error::new(other, "is not an option")),
            }
        }
        match (&options.cni_dir, without) {
            (None, false) => Err(Error::new("--cni-dir", "say where the plugins are")),
            (Some(_), true) => Err(Error::new("--without-cni", "excludes --cni-dir")),
            _ => Ok(Parsed::Run(options)),
        }
    }

    /// Rounds of a scenario that takes `quick` of them in quick mode.
    pub(crate) fn rounds(&self, quick: usize) -> usize {
        self.rounds.unwrap_or(match self.mode {
            Mode::Quick => quick,
            Mode::Full => quick * 5,
        })
    }

    /// Whether the scenario is wanted.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        let named = |name: &String| match scenario.strip_prefix(name.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('-'),
            None => false,
        };
        self.only.is_empty() || self.only.iter().any(named)
    }
}

/// Plugins are run from other directories and mount namespaces.
pub(crate) fn absolute(path: &str) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| Error::new(path, cause))
}

pub(crate) fn count(flag: &str, text: &str) -> Result<usize> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Error::new(flag, format!("{text:?} is not a number above zero"))),
    }
}

/// Whether a scenario is among those that were asked for by name, if any were.
pub(crate) fn is_wanted(only: &[String], scenario: &str) -> bool {
    only.is_empty() || only.iter().any(|name| name == scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Parsed> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn defaults_are_quick_and_debian() {
        let Ok(Parsed::Run(options)) = parse("--cni-dir /x") else { panic!("not a run") };
        assert_eq!(options.peer, PathBuf::from("/usr/lib/cni"));
        assert_eq!(options.mode, Mode::Quick);
        assert_eq!(options.rounds(7), 7);
        assert!(options.wants("bridge"));
    }

    #[test]
    fn full_and_only() {
        let Ok(Parsed::Run(options)) = parse("--cni-dir /x --full --only ptp,flat") else {
            panic!("not a run")
        };
        assert_eq!(options.rounds(7), 35);
        assert!(options.wants("flat-bridge") && options.wants("ptp"));
        assert!(!options.wants("bridge") && !options.wants("ptpx"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in ["", "--cni-dir", "--cni-dir /x --rounds 0", "--fast"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--cni-dir /x --without-cni").is_err());
        assert!(matches!(parse("--help"), Ok(Parsed::Help)));
    }
}
