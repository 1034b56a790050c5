//! A node for plugins, and plugins as processes.

use cri_tests::{BUSY, Client, Node};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long something may take that comes by itself.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A node whose daemon has these lines in `[nri]`, and the image with busybox on it.
pub(crate) fn node(name: &str, lines: &str) -> Option<(Node, String)> {
    let mut node = Node::prepare(name)?;
    node.write("config.d/nri.toml", &format!("[nri]\n{lines}\n"));
    node.serve();
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| client.pull(&image).await);
    Some((node, image))
}

/// A plugin that a test has started.
pub(crate) struct Plugin {
    child: Child,
    notes: std::path::PathBuf,
}

impl Plugin {
    /// Starts one, and does not wait until it is connected.
    pub(crate) fn begin(node: &Node, full: &str, behaviour: &str) -> Plugin {
        let (index, name) = full.split_once('-').expect("NN-name");
        let notes = node.path(&format!("notes-{full}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_cri-nri-plugin"));
        command.args([name, index]).arg(node.path("nri.sock")).arg(behaviour).arg(&notes);
        command.stdin(Stdio::null());
        Plugin { child: command.spawn().expect("a plugin"), notes }
    }

    /// Starts one, and waits until it is connected.
    pub(crate) fn start(node: &Node, full: &str, behaviour: &str) -> Plugin {
        let line = format!("an NRI plugin is connected plugin=\"{full}\"");
        let times = || node.log().matches(&line).count();
        let before = times();
        let plugin = Plugin::begin(node, full, behaviour);
        until(&format!("{full} is connected"), || times() > before);
        plugin
    }

    /// What it noted.
    pub(crate) fn notes(&self) -> Vec<String> {
        notes(&self.notes)
    }

    /// Waits until it has noted a line that begins so.
    pub(crate) fn noted(&self, beginning: &str) {
        let is_it = |line: &String| line.starts_with(beginning);
        until(beginning, || self.notes().iter().any(is_it));
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill().and_then(|()| self.child.wait().map(drop));
    }
}

pub(crate) fn notes(path: &std::path::Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
