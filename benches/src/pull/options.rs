//! The command line of `benches pull`.

use crate::error::{Error, Result};
use crate::oci::contestant;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: benches pull --podloom PROGRAM [options]

Measures `podloom image` beside containerd: pulling a generated image of 300 MB from a registry
on this machine, and listing a thousand images. Needs root, docker-registry and apache2-utils.

  --podloom PROGRAM      the podloom to measure
  --peer containerd=DIR  a directory with containerd and ctr
  --rounds N             pulls by each (default 5)
  --only A,B             only these of: pull, many
  --data DIR             where everything is kept (default: the temporary directory)
  -o FILE                all figures as JSON";

/// A valid command line.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) podloom: PathBuf,
    /// The directory with containerd and ctr.
    pub(crate) containerd: Option<PathBuf>,
    pub(crate) rounds: usize,
    pub(crate) only: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) output: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments after `pull`; `None` when help is asked for.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Options>> {
        let mut args = args.into_iter();
        let mut podloom = None;
        let mut options = Options {
            podloom: PathBuf::new(),
            containerd: None,
            rounds: 5,
            only: Vec::new(),
            data: std::env::temp_dir(),
            output: None,
        };
        while let Some(flag) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| Error::new(&flag, "a value must follow it"));
            match flag.as_str() {
                "--podloom" => podloom = Some(crate::options::absolute(&value()?)?),
                "--peer" => {
                    let peer = contestant(&value()?)?;
                    if peer.name != "containerd" {
                        return Err(Error::new(peer.name, "is no peer here: containerd is"));
                    }
                    options.containerd = Some(peer.program);
                }
                "--rounds" => options.rounds = crate::options::count(&flag, &value()?)?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--data" => options.data = crate::options::absolute(&value()?)?,
                "-o" | "--output" => options.output = Some(crate::options::absolute(&value()?)?),
                "--help" | "-h" => return Ok(None),
                other => return Err(Error::new(other, "is not an option")),
            }
        }
        options.podloom = podloom.ok_or_else(|| Error::new("--podloom", "say where it is"))?;
        Ok(Some(options))
    }

    /// Whether the scenario is wanted.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        crate::options::is_wanted(&self.only, scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_peer() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        let options = parse("--podloom /p --peer containerd=/c --only many").unwrap().unwrap();
        assert_eq!(options.containerd, Some(PathBuf::from("/c")));
        assert!(options.wants("many") && !options.wants("pull"));
        for line in ["", "--podloom /p --peer other=/c", "--podloom /p --rounds x"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
