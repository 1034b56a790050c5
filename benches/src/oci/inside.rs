//! The library instead of the program: a shim that links it pays for no process of its own.

use super::player::{Outcome, Stage, Step};
use crate::error::{About, Error, Result};
use ::oci::{Bundle, ContainerId, CreateOptions, Driver, Runtime};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs a whole life of a container in one fresh process, which measures itself.
#[derive(Debug)]
pub(crate) struct Inside {
    root: PathBuf,
    bundle: PathBuf,
    /// This program, in a file that nobody can write to, as shims run.
    program: OwnedFd,
}

impl Inside {
    pub(crate) fn new(stage: &Stage<'_>) -> Result<Inside> {
        let root = PathBuf::from("/run").join(format!("{}-linked", stage.shape.as_str()));
        Ok(Inside { root, bundle: stage.bundle("linked", "true")?, program: sealed()? })
    }

    /// The verbs and their times. The start of the process is not among them.
    pub(crate) fn run(&self) -> Result<Vec<(&'static str, Outcome)>> {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.program.as_raw_fd()));
        command.arg("oci-inside").arg(&self.root).arg(&self.bundle);
        let output = command.output().about("oci-inside")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let nanos: Vec<u64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let verbs = ["create", "start", "create+start", Step::Run.as_str()];
        if output.status.success() && nanos.len() == verbs.len() {
            let walls = nanos.into_iter().map(|n| Ok(Duration::from_nanos(n)));
            return Ok(verbs.into_iter().zip(walls).collect());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(vec![(Step::Run.as_str(), Err(said))])
    }
}

/// A sealed copy of this program in memory.
fn sealed() -> Result<OwnedFd> {
    let about = "this program, sealed";
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut copy = File::from(memfd_create("benches", flags).about(about)?);
    let mut own = File::open("/proc/self/exe").about(about)?;
    std::io::copy(&mut own, &mut copy).about(about)?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)).about(about)?;
    // The kernel runs nothing that somebody has open for writing.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(path).about(about)?.into())
}

/// What `benches oci-inside ROOT BUNDLE` does: one life of a container. Gives the nanoseconds of
/// create, of start, of both, and of everything up to the removal.
pub(crate) fn cycle(root: &Path, bundle: &Path) -> Result<[u128; 4]> {
    let id = ContainerId::new("linked").about("linked")?;
    let runtime =
        Runtime { root: root.to_owned(), cgroups: Some(Driver::Cgroupfs), rootless: false };
    let begin = Instant::now();
    let bundle = Bundle::open(bundle).about("bundle")?;
    let created = runtime.create(&id, &bundle, &CreateOptions::default()).about("create")?;
    let created_at = begin.elapsed();
    let mut running = created.start().about("start")?;
    let started_at = begin.elapsed();
    let status = running.wait().about("wait")?;
    drop(running);
    runtime.delete(&id, false).about("delete")?;
    let whole = begin.elapsed();
    if status != 0 {
        return Err(Error::new("true", format!("exit status {status}")));
    }
    let start = started_at.saturating_sub(created_at);
    Ok([created_at, start, started_at, whole].map(|wall| wall.as_nanos()))
}
