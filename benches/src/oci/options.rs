//! The command line of `benches oci`.

use crate::error::{Error, Result};
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: benches oci --oci PROGRAM [options]

Measures podloom-oci beside other OCI runtimes, in turn, on a minimal bundle and on one as
Kubernetes makes them. Needs root and a C compiler.

  --oci PROGRAM     the podloom-oci to measure
  --peer NAME=PATH  another runtime; may be repeated
  --rounds N        rounds on each bundle (default 120)
  --only A,B        only these of: minimal, kubernetes, memory
  --data DIR        where the bundles are (default: the temporary directory)
  --without-oci     only the peers and the floor
  -o FILE           all figures as JSON";

/// A runtime under measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
}

/// A valid command line.
#[derive(Debug)]
pub(crate) struct Options {
    /// `None` measures the peers alone.
    pub(crate) ours: Option<PathBuf>,
    pub(crate) peers: Vec<Contestant>,
    pub(crate) rounds: usize,
    pub(crate) only: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) output: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments after `oci`; `None` when help is asked for.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Options>> {
        let mut args = args.into_iter();
        let mut options = Options {
            ours: None,
            peers: Vec::new(),
            rounds: 120,
            only: Vec::new(),
            data: std::env::temp_dir(),
            output: None,
        };
        let mut without = false;
        while let Some(flag) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| Error::new(&flag, "a value must follow it"));
            match flag.as_str() {
                "--oci" => options.ours = Some(crate::options::absolute(&value()?)?),
                "--peer" => options.peers.push(contestant(&value()?)?),
                "--rounds" => options.rounds = crate::options::count(&flag, &value()?)?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--data" => options.data = crate::options::absolute(&value()?)?,
                "-o" | "--output" => options.output = Some(crate::options::absolute(&value()?)?),
                "--without-oci" => without = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(Error::new(other, "is not an option")),
            }
        }
        match (&options.ours, without) {
            (None, false) => Err(Error::new("--oci", "say where podloom-oci is")),
            (Some(_), true) => Err(Error::new("--without-oci", "excludes --oci")),
            _ => Ok(Some(options)),
        }
    }

    /// Whether the scenario is wanted.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        crate::options::is_wanted(&self.only, scenario)
    }
}

/// `NAME=PATH`.
pub(crate) fn contestant(text: &str) -> Result<Contestant> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok(Contestant { name: name.to_owned(), program: crate::options::absolute(path)? })
        }
        _ => Err(Error::new("--peer", format!("{text:?} is not NAME=PATH"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn peers_have_names() {
        let options = parse("--oci /x --peer a=/a --peer b=/b --only minimal").unwrap().unwrap();
        assert_eq!(options.peers.len(), 2);
        assert_eq!(options.peers[1].name, "b");
        assert!(options.wants("minimal") && !options.wants("memory"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let lines =
            ["", "--oci", "--oci /x --peer a", "--oci /x --peer =/a", "--oci /x --rounds 0", "-x"];
        for line in lines {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--oci /x --without-oci").is_err());
        assert!(parse("--help").unwrap().is_none());
    }
}
