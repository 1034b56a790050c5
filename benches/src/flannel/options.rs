//! The command line of `benches flannel`.

use crate::error::{Error, Result};
use crate::options::{absolute, count};
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: benches flannel --cni-dir DIR [options]

Measures flannel, bridge and host-local in DIR on two dual-stack nodes that vxlan joins, as flanneld
does it: attaching pods to both, and TCP between pods of the two. Needs root and iproute2.

  --cni-dir DIR   the plugins to measure
  --peer DIR      the reference plugins, with flannel among them
  --pods N        pods on each node (default 250)
  --rounds N      transfers over each family (default 5)
  --data DIR      where leases and records are kept (default: the temporary directory)
  -o FILE         all figures as JSON";

/// A valid command line.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) cni_dir: PathBuf,
    pub(crate) peer: Option<PathBuf>,
    /// On each node.
    pub(crate) pods: usize,
    pub(crate) rounds: usize,
    pub(crate) data: PathBuf,
    pub(crate) output: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments after `flannel`; `None` when help is asked for.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Options>> {
        let mut args = args.into_iter();
        let mut cni_dir = None;
        let mut options = Options {
            cni_dir: PathBuf::new(),
            peer: None,
            pods: 250,
            rounds: 5,
            data: std::env::temp_dir(),
            output: None,
        };
        while let Some(flag) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| Error::new(&flag, "a value must follow it"));
            match flag.as_str() {
                "--cni-dir" => cni_dir = Some(absolute(&value()?)?),
                "--peer" => options.peer = Some(absolute(&value()?)?),
                "--pods" => options.pods = count(&flag, &value()?)?,
                "--rounds" => options.rounds = count(&flag, &value()?)?,
                "--data" => options.data = absolute(&value()?)?,
                "-o" | "--output" => options.output = Some(absolute(&value()?)?),
                "--help" | "-h" => return Ok(None),
                other => return Err(Error::new(other, "is not an option")),
            }
        }
        options.cni_dir =
            cni_dir.ok_or_else(|| Error::new("--cni-dir", "say where the plugins are"))?;
        if options.pods > MOST_PODS {
            return Err(Error::new("--pods", format!("at most {MOST_PODS}: a node has a /24")));
        }
        Ok(Some(options))
    }
}

/// Addresses of a /24, without the network's, the gateway's and that for broadcasts.
const MOST_PODS: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_a_full_node() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        let options = parse("--cni-dir /x --peer /y").unwrap().unwrap();
        assert_eq!((options.pods, options.rounds), (250, 5));
        assert_eq!(options.peer, Some(PathBuf::from("/y")));
        for line in ["", "--cni-dir /x --pods 254", "--cni-dir /x --pods 0", "--peer"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--help").unwrap().is_none());
    }
}
