//! The command line, as the daemon writes it.

use crate::error::Result;
use shim_protocol::{Error, Kind};
use std::path::PathBuf;

/// What the shim is told at its start.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Name of the pod.
    pub(crate) id: String,
    /// The shim's directory.
    pub(crate) dir: PathBuf,
    /// Control group to go to.
    pub(crate) cgroup: Option<PathBuf>,
    /// `oom_score_adj` to have.
    pub(crate) oom_score_adj: Option<i32>,
}

impl Arguments {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
        let mut read = Arguments::default();
        while let Some(flag) = words.next() {
            let invalid = |cause: &str| Error::new(Kind::Invalid, &flag, cause);
            let value = words.next().ok_or_else(|| invalid("has no value"))?;
            match flag.as_str() {
                "--id" => read.id = value,
                "--dir" => read.dir = value.into(),
                "--cgroup" => read.cgroup = Some(value.into()),
                "--oom-score-adj" => {
                    let score = value.parse().map_err(|_| invalid("is no number"))?;
                    read.oom_score_adj = Some(score);
                }
                _ => return Err(invalid("is not known")),
            }
        }
        if read.id.is_empty() || !read.dir.is_absolute() {
            let cause = "needs --id and --dir, an absolute path; podloomd starts this program";
            return Err(Error::new(Kind::Invalid, "command line", cause));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read() {
        let read_all = read("--id p --dir /d --cgroup /g --oom-score-adj -998").expect("fine");
        assert_eq!((read_all.id.as_str(), read_all.oom_score_adj), ("p", Some(-998)));
        for wrong in ["", "--id p", "--id p --dir d", "--id p --dir /d --more 1", "--id"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
