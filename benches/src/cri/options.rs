//! The command line of `benches cri`.

use super::kind::{Kind, Team};
use crate::error::{Error, Result};
use crate::oci::contestant;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: benches cri --podloomd PROGRAM --cni-dir DIR [options]

Measures podloomd beside other servers of the CRI, in turn: the calls of a pod's life, many pods at
once, lists and statistics over them, memory, a start again, and what exec moves. Needs root, a C
compiler, docker-registry and apache2-utils.

  --podloomd PROGRAM     the podloomd to measure, with podloom-shim and podloom beside it
  --cni-dir DIR          our plugins
  --peer containerd=DIR  a directory with containerd, containerd-shim-runc-v2 and runc
  --peer crio=DIR        a directory with crio, pinns and crun.real or crun; conmon is the system's
  --peer-cni DIR         the plugins that peers use (default: ours)
  --rounds N             lives of a pod (default 40)
  --pods N               how many there are at once (default 100), twice as many at the start again
  --only A,B             only these of: calls, crowd, streams
  --data DIR             where everything is kept (default: the temporary directory)
  -o FILE                all figures as JSON";

/// A valid command line.
#[derive(Debug)]
pub(crate) struct Options {
    /// Ours first.
    pub(crate) teams: Vec<Team>,
    /// The operator's command, which plays the client of streams.
    pub(crate) podloom: PathBuf,
    pub(crate) rounds: usize,
    pub(crate) pods: usize,
    pub(crate) only: Vec<String>,
    pub(crate) data: PathBuf,
    pub(crate) output: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments after `cri`; `None` when help is asked for.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Options>> {
        let mut args = args.into_iter();
        let (mut daemon, mut plugins, mut peer_plugins) = (None, None, None);
        let mut peers = Vec::new();
        let mut options = Options {
            teams: Vec::new(),
            podloom: PathBuf::new(),
            rounds: 40,
            pods: 100,
            only: Vec::new(),
            data: std::env::temp_dir(),
            output: None,
        };
        while let Some(flag) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| Error::new(&flag, "a value must follow it"));
            match flag.as_str() {
                "--podloomd" => daemon = Some(crate::options::absolute(&value()?)?),
                "--cni-dir" => plugins = Some(crate::options::absolute(&value()?)?),
                "--peer-cni" => peer_plugins = Some(crate::options::absolute(&value()?)?),
                "--peer" => peers.push(contestant(&value()?)?),
                "--rounds" => options.rounds = crate::options::count(&flag, &value()?)?,
                "--pods" => options.pods = crate::options::count(&flag, &value()?)?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--data" => options.data = crate::options::absolute(&value()?)?,
                "-o" | "--output" => options.output = Some(crate::options::absolute(&value()?)?),
                "--help" | "-h" => return Ok(None),
                other => return Err(Error::new(other, "is not an option")),
            }
        }
        let daemon = daemon.ok_or_else(|| Error::new("--podloomd", "say where it is"))?;
        let plugins =
            plugins.ok_or_else(|| Error::new("--cni-dir", "say where the plugins are"))?;
        options.podloom = daemon.with_file_name("podloom");
        options.teams.push(Team {
            kind: Kind::Podloom,
            programs: daemon,
            plugins: plugins.clone(),
        });
        let peer_plugins = peer_plugins.unwrap_or(plugins);
        for peer in peers {
            let kind = match peer.name.as_str() {
                "containerd" => Kind::Containerd,
                "crio" => Kind::Crio,
                other => return Err(Error::new(other, "is no peer here: containerd and crio are")),
            };
            let (programs, plugins) = (peer.program, peer_plugins.clone());
            options.teams.push(Team { kind, programs, plugins });
        }
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
    fn reads_its_peers() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        let line = "--podloomd /d/podloomd --cni-dir /c --peer crio=/p --peer-cni /r --pods 7";
        let options = parse(line).unwrap().unwrap();
        assert_eq!(options.podloom, PathBuf::from("/d/podloom"));
        assert_eq!((options.teams.len(), options.pods), (2, 7));
        assert_eq!(options.teams[0].plugins, PathBuf::from("/c"));
        assert_eq!(options.teams[1].plugins, PathBuf::from("/r"));
        for line in ["", "--podloomd /d", "--podloomd /d --cni-dir /c --peer docker=/p"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
