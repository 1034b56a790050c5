//! Where the demo plays: namespaces without a name, and one directory for all files.

use super::lists;
use crate::args::Place;
use crate::fault::{Fault, Result};
use netns::Netns;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The node's address on the outside network.
pub(super) const NODE_V4: &str = "203.0.113.1";
/// The same for IPv6.
pub(super) const NODE_V6: &str = "2001:db8:113::1";

/// Node, outside host and files; all gone when it is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) node: Netns,
    pub(super) outside: Netns,
    pub(super) dir: PathBuf,
    plugins: PathBuf,
    program: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The namespaces end with their last user; only files have to be removed.
        let _left_in_the_temporary_directory = std::fs::remove_dir_all(&self.dir);
    }
}

fn trouble(subject: &str, cause: impl ToString) -> Fault {
    Fault::new(1, subject, cause.to_string())
}

pub(super) fn namespace(what: &str) -> Result<Netns> {
    Netns::anonymous().map_err(|e| trouble(what, e))
}

/// Waits for a started program; a failure tells what it wrote.
pub(super) fn finish(what: &str, child: Child) -> Result<Output> {
    let output = child.wait_with_output().map_err(|e| trouble(what, e))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(trouble(what, format!("{}: {}", output.status, said.trim())))
}

impl Stage {
    /// # Errors
    /// When not run as root, or without the programs and plugins that it needs.
    pub(super) fn set_up(place: &Place) -> Result<Stage> {
        if !nix::unistd::geteuid().is_root() {
            return Err(trouble("demo", "network namespaces take root")
                .advise("run it as root; it changes nothing outside of its own namespaces"));
        }
        let program = std::env::current_exe().map_err(|e| trouble("own program", e))?;
        let plugins = find_plugins(place, &program)?;
        let dir = std::env::temp_dir().join(format!("podloom-demo-{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|e| trouble(&dir.display().to_string(), e))?;
        // From here on the directory is removed, whatever happens.
        let stage = Stage {
            node: namespace("node")?,
            outside: namespace("outside host")?,
            dir,
            plugins,
            program,
        };
        stage.write_files().map_err(|e| trouble(&stage.dir.display().to_string(), e))?;
        stage.connect()?;
        Ok(stage)
    }

    pub(super) fn leases(&self) -> PathBuf {
        self.dir.join("leases")
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    pub(super) fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    fn write_files(&self) -> std::io::Result<()> {
        for sub in ["bin", "run", "cache", "leases"] {
            std::fs::create_dir(self.dir.join(sub))?;
        }
        let (conf, slow) = (self.dir.join("net.d"), self.dir.join("slow.d"));
        lists::write(&conf, &slow, &self.leases())?;
        // Says that it runs through a FIFO, and waits to be killed; for a minute at most, as
        // nobody stops it if the demo itself is killed.
        nix::unistd::mkfifo(&self.fifo(), nix::sys::stat::Mode::S_IRWXU)?;
        let script = format!(
            "#!/bin/sh\ncase $CNI_COMMAND in\nADD) echo $$ >{}; exec sleep 60 ;;\n\
             VERSION) echo '{{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"1.1.0\"]}}' ;;\nesac\n",
            self.fifo().display()
        );
        let path = self.dir.join("bin").join(lists::PAUSE);
        std::fs::write(&path, script)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
    }

    pub(super) fn fifo(&self) -> PathBuf {
        self.dir.join("fifo")
    }

    /// A cable between node and outside host, with addresses at both ends.
    fn connect(&self) -> Result<()> {
        let outside = self.outside.path().display();
        let node = format!(
            "link set lo up\n\
             link add outside type veth peer name eth0 netns {outside}\n\
             addr add {NODE_V4}/24 dev outside\n\
             addr add {NODE_V6}/64 dev outside nodad\n\
             link set outside up\n"
        );
        self.ip_batch("node's links", &self.node, &node)?;
        let far = "link set lo up\n\
                   addr add 203.0.113.2/24 dev eth0\n\
                   addr add 2001:db8:113::2/64 dev eth0 nodad\n\
                   link set eth0 up\n";
        self.ip_batch("outside host's links", &self.outside, far)
    }

    fn ip_batch(&self, what: &str, place: &Netns, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped());
        let mut child = self.start(what, place, &mut command)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes()).map_err(|e| trouble(what, e))?;
        }
        finish(what, child).map(|_| ())
    }

    /// Starts a program inside a namespace, with its output captured.
    pub(super) fn start(&self, what: &str, place: &Netns, command: &mut Command) -> Result<Child> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_string_lossy().into_owned();
        let started = place.run(|| command.spawn()).map_err(|e| trouble(what, e))?;
        started.map_err(|e| {
            trouble(what, format!("{program}: {e}"))
                .advise("apt-get install iproute2 iptables nftables iputils-ping")
        })
    }

    /// Runs a program inside a namespace and returns what it printed.
    pub(super) fn say(&self, place: &Netns, words: &[&str]) -> Result<String> {
        let (program, rest) = words.split_first().unwrap_or((&"true", &[]));
        let what = words.join(" ");
        let mut command = Command::new(program);
        let child = self.start(&what, place, command.args(rest).stdin(Stdio::null()))?;
        let output = finish(&what, child)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `podloom net ...` on the node.
    pub(super) fn podloom(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for name in ["CNI_ARGS", "CNI_IFNAME", "CAP_ARGS", "CNI_PATH", "NETCONFPATH"] {
            command.env_remove(name);
        }
        // Whatever the plugins keep of themselves stays in the demo's directory as well.
        command
            .env("PODLOOM_RUN_DIR", self.run_dir())
            .env("XTABLES_LOCKFILE", self.dir.join("xtables.lock"))
            .stdin(Stdio::null())
            .arg("net")
            .args(words);
        let option = |command: &mut Command, name: &str, value: &OsStr| {
            command.arg(name).arg(value);
        };
        option(&mut command, "--cache-dir", self.cache().as_os_str());
        option(&mut command, "--plugin-dir", self.plugins.as_os_str());
        option(&mut command, "--plugin-dir", self.dir.join("bin").as_os_str());
        if !words.contains(&"--conf-dir") {
            option(&mut command, "--conf-dir", self.dir.join("net.d").as_os_str());
        }
        command
    }

    /// Runs `podloom net ...` on the node and returns what it printed.
    pub(super) fn net(&self, words: &[&str]) -> Result<String> {
        let what = format!("podloom net {}", words.join(" "));
        let child = self.start(&what, &self.node, &mut self.podloom(words))?;
        let output = finish(&what, child)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The directory that was named, the one installed beside this program, or the usual one.
fn find_plugins(place: &Place, program: &Path) -> Result<PathBuf> {
    let beside = program.parent().and_then(Path::parent).map(|dir| dir.join("cni"));
    let usual = PathBuf::from(libcni::DEFAULT_PLUGIN_DIR);
    let candidates: Vec<PathBuf> = if place.plugin_dir.is_empty() {
        beside.into_iter().chain([usual]).collect()
    } else {
        place.plugin_dir.clone()
    };
    let needed = ["bridge", "ptp", "host-local", "portmap", "loopback"];
    let complete = |dir: &&PathBuf| needed.iter().all(|plugin| dir.join(plugin).is_file());
    if let Some(dir) = candidates.iter().find(complete) {
        return std::path::absolute(dir).map_err(|e| trouble("plugin directory", e));
    }
    let looked: Vec<_> = candidates.iter().map(|dir| dir.display().to_string()).collect();
    let cause = format!("none of {} has all of {}", looked.join(", "), needed.join(", "));
    Err(Fault::new(3, "plugins", cause).advise("build them, or name their --plugin-dir"))
}
