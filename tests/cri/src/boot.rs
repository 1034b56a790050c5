//! A boot of the node, as far as its daemon can tell.

use crate::Node;
use crate::node::daemon;
use crate::remains::remove_groups;
use std::fs;
use std::process::Command;

/// Another number than any boot of the machine has.
const OTHER_BOOT: &str = "00000000-1111-4222-8333-444444444444\n";

impl Node {
    /// Takes away what a loss of power takes: the daemon, all processes of pods, mounts, links, rules,
    /// and what is in memory.
    ///
    /// # Panics
    /// When something does not go.
    pub fn lose_power(&mut self) {
        self.kill();
        remove_groups(&self.cgroup);
        lab::end_shims(self.lab().root());
        remove_groups(&self.cgroup);
        lab::unmount_below(self.lab().root());
        for dir in ["state", "netns"] {
            fs::remove_dir_all(self.path(dir)).expect(dir);
        }
        self.lab().node().ip("link delete cni0");
        let flushed = self.lab().node().exec("nft", &["flush", "ruleset"]);
        assert!(flushed.status.success(), "{flushed:?}");
    }

    /// Starts podloomd where the kernel's number of the boot is another one, and waits until it
    /// answers. What it mounts is seen by itself alone: see [`Node::mounts`].
    ///
    /// # Panics
    /// When it does not answer within 30 s.
    pub fn serve_after_a_boot(&mut self) {
        let fake = self.path("tmp/boot_id");
        fs::write(&fake, OTHER_BOOT).expect("boot id");
        let script = format!(
            "mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$0\" --config \"$1\"",
            fake.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave", "sh", "-c", &script]);
        command.arg(daemon()).arg(self.path("config.toml"));
        self.spawn(command);
        self.wait();
    }

    /// Lines of the mount table, as the daemon sees it, that are about pods.
    ///
    /// # Panics
    /// When the daemon does not run.
    pub fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid())).expect("mounts");
        let root = self.lab().root().to_string_lossy();
        let of_pod = |line: &&str| {
            ["/state/", "/netns/", "/lib/"].iter().any(|dir| line.contains(&format!("{root}{dir}")))
        };
        table.lines().filter(of_pod).map(str::to_owned).collect()
    }
}
