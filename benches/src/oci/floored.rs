//! The bare program.

use super::bundle::{self, Shape};
use super::player::{Outcome, Stage};
use crate::error::{About, Result};
use crate::floor::Floor;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs `true` with the kernel work of a shape, and nothing else.
#[derive(Debug)]
pub(crate) struct Bare {
    program: PathBuf,
    shape: Shape,
    rootfs: PathBuf,
    filter: PathBuf,
    shared: PathBuf,
    group: String,
}

impl Bare {
    /// Compiles the filter that the program loads.
    pub(crate) fn new(stage: &Stage<'_>, floor: &Floor) -> Result<Bare> {
        let profile = serde_json::from_value(bundle::seccomp()).about("seccomp profile")?;
        let compiled = seccomp::compile(&profile).about("seccomp profile")?;
        let mut code = Vec::new();
        for insn in compiled.insns() {
            code.extend(insn.code.to_ne_bytes());
            code.extend([insn.jt, insn.jf]);
            code.extend(insn.k.to_ne_bytes());
        }
        let filter = stage.site.dir().join("filter");
        std::fs::write(&filter, code).about(filter.display())?;
        Ok(Bare {
            program: floor.container.clone(),
            shape: stage.shape,
            rootfs: stage.rootfs.clone(),
            filter,
            shared: stage.shared.clone(),
            group: format!("{}/floor", stage.cgroups.trim_start_matches('/')),
        })
    }

    /// Without control groups, or with those that a container has.
    pub(crate) fn run(&self, groups: bool) -> Result<Outcome> {
        let mut command = Command::new(&self.program);
        command.arg(self.shape.as_str()).arg(&self.rootfs).arg(&self.filter).arg(&self.shared);
        command.args(groups.then_some(&self.group));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let start = Instant::now();
        let status = command.spawn().about("floor")?.wait().about("floor")?;
        let wall = start.elapsed();
        Ok(if status.success() { Ok(wall) } else { Err(status.to_string()) })
    }
}
