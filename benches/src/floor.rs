//! The bare C programs that are the floor, and the one that counts processes.

use crate::error::{About, Error, Result};
use crate::node::Site;
use std::path::PathBuf;
use std::process::Command;

const SOURCES: [(&str, &str); 10] = [
    ("rtnl.h", include_str!("../floor/rtnl.h")),
    ("bridge-add.c", include_str!("../floor/bridge-add.c")),
    ("bridge-del.c", include_str!("../floor/bridge-del.c")),
    ("container.c", include_str!("../floor/container.c")),
    ("payload.c", include_str!("../floor/payload.c")),
    ("stay.c", include_str!("../floor/stay.c")),
    ("flood.c", include_str!("../floor/flood.c")),
    ("traffic.c", include_str!("../floor/traffic.c")),
    ("nothing.c", include_str!("../floor/nothing.c")),
    ("tally.c", include_str!("../floor/tally.c")),
];

/// The compiled programs.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) bridge_add: PathBuf,
    pub(crate) bridge_del: PathBuf,
    pub(crate) container: PathBuf,
    /// What runs in containers.
    pub(crate) payload: PathBuf,
    /// What runs in a pod's containers.
    pub(crate) stay: PathBuf,
    /// What writes to a stream.
    pub(crate) flood: PathBuf,
    /// What serves ports of a pod.
    pub(crate) traffic: PathBuf,
    pub(crate) nothing: PathBuf,
    pub(crate) tally: PathBuf,
}

impl Floor {
    /// Compiles them into the site.
    pub(crate) fn compile(site: &Site) -> Result<Floor> {
        let dir = site.dir().join("floor");
        std::fs::create_dir(&dir).about(dir.display())?;
        for (name, text) in SOURCES {
            std::fs::write(dir.join(name), text).about(name)?;
        }
        let build_with = |name: &str, more: &[&str]| -> Result<PathBuf> {
            let program = dir.join(name);
            let source = dir.join(format!("{name}.c"));
            let output = Command::new("cc")
                .args(["-O2", "-static", "-Wall", "-Wextra", "-Werror"])
                .args(more)
                .arg("-o")
                .args([&program, &source])
                .output()
                .about("cc")?;
            if output.status.success() {
                return Ok(program);
            }
            Err(Error::new(format!("cc {name}.c"), String::from_utf8_lossy(&output.stderr)))
        };
        let build = |name: &str| build_with(name, &[]);
        Ok(Floor {
            container: build("container")?,
            payload: build_with("payload", &["-nostdlib", "-fno-stack-protector"])?,
            bridge_add: build("bridge-add")?,
            bridge_del: build("bridge-del")?,
            stay: build("stay")?,
            flood: build("flood")?,
            traffic: build("traffic")?,
            nothing: build("nothing")?,
            tally: build("tally")?,
        })
    }
}

/// The largest resident set, KiB, in what the counting program wrote.
pub(crate) fn largest(report: &str) -> Result<u64> {
    let mut words = report.split_whitespace().skip_while(|word| *word != "maxrss_kib");
    let figure = words.nth(1).and_then(|word| word.parse().ok());
    figure.ok_or_else(|| Error::new("maxrss_kib", format!("is not in {report:?}")))
}
