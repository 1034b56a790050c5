//! The bare C programs that are the floor, and the one that counts processes.

use crate::error::{About, Error, Result};
use crate::node::Site;
use std::path::PathBuf;
use std::process::Command;

const SOURCES: [(&str, &str); 5] = [
    ("rtnl.h", include_str!("../floor/rtnl.h")),
    ("bridge-add.c", include_str!("../floor/bridge-add.c")),
    ("bridge-del.c", include_str!("../floor/bridge-del.c")),
    ("nothing.c", include_str!("../floor/nothing.c")),
    ("tally.c", include_str!("../floor/tally.c")),
];

/// The compiled programs.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) bridge_add: PathBuf,
    pub(crate) bridge_del: PathBuf,
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
        let build = |name: &str| -> Result<PathBuf> {
            let program = dir.join(name);
            let source = dir.join(format!("{name}.c"));
            let output = Command::new("cc")
                .args(["-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o"])
                .args([&program, &source])
                .output()
                .about("cc")?;
            if output.status.success() {
                return Ok(program);
            }
            Err(Error::new(format!("cc {name}.c"), String::from_utf8_lossy(&output.stderr)))
        };
        Ok(Floor {
            bridge_add: build("bridge-add")?,
            bridge_del: build("bridge-del")?,
            nothing: build("nothing")?,
            tally: build("tally")?,
        })
    }
}
