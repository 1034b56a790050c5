//! Running a plugin on the node.

use crate::Bins;
use crate::enter::Ns;
use crate::node::{Lab, Pod};
use crate::outcome::Outcome;
use crate::running;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// When to SIGKILL a plugin.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// This long after its start.
    After(Duration),
    /// When its main thread makes its n-th system call, before the call has an effect.
    /// Deterministic; needs `strace`.
    AtSyscall(u32),
}

/// A plugin to be run on the node of a lab. Environment and deadline can be changed; then one of
/// the verbs runs it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Plugin<'l> {
    lab: &'l Lab,
    program: PathBuf,
    env: Vec<(String, String)>,
    without: Vec<String>,
    kill: Option<Kill>,
    over: Vec<(PathBuf, PathBuf)>,
    limit: Option<Duration>,
}

/// The variables of one call, for calls that no verb of [`Plugin`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `CNI_COMMAND`.
    pub command: &'a str,
    /// `CNI_CONTAINERID`.
    pub id: &'a str,
    /// `CNI_NETNS`.
    pub netns: &'a str,
    /// `CNI_IFNAME`.
    pub ifname: &'a str,
}

impl<'l> Plugin<'l> {
    pub(crate) fn new(lab: &'l Lab, bins: &Bins, name: &str) -> Plugin<'l> {
        let run_dir = lab.run_dir().to_string_lossy().into_owned();
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let env = vec![
            ("PATH".to_owned(), path),
            ("CNI_PATH".to_owned(), bins.dir().to_string_lossy().into_owned()),
            ("PODLOOM_RUN_DIR".to_owned(), run_dir),
            ("PODLOOM_CACHE_DIR".to_owned(), lab.cache_dir().to_string_lossy().into_owned()),
        ];
        let program = bins.program(name);
        let (without, over) = (Vec::new(), Vec::new());
        Plugin { lab, program, env, without, kill: None, over, limit: None }
    }

    /// With this variable, over what the verb sets.
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Without this variable.
    pub fn without_env(mut self, key: &str) -> Self {
        self.without.push(key.to_owned());
        self
    }

    /// Killed at this moment, if it still runs. Its children live on and are waited for, as far
    /// as they hold its output.
    pub fn kill(mut self, moment: Kill) -> Self {
        self.kill = Some(moment);
        self
    }

    /// Killed with all that it started when it takes longer than this: for plugins that may hang.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With [`Lab::private_dirs`] over the machine's, for plugins that use their default paths.
    pub fn private(mut self) -> Self {
        self.over.extend(self.lab.private_dirs());
        self
    }

    /// With a directory over the machine's, for what the plugin reads there.
    pub fn with_dir(mut self, source: PathBuf, target: &str) -> Self {
        self.over.push((source, PathBuf::from(target)));
        self
    }

    /// With an empty directory over this one, so that the programs in it are not installed.
    pub fn hiding(mut self, dir: &str) -> Self {
        let empty = self.lab.root().join("empty");
        std::fs::create_dir_all(&empty).unwrap_or_else(|e| panic!("{}: {e}", empty.display()));
        self.over.push((empty, PathBuf::from(dir)));
        self
    }

    /// ADD.
    pub fn add(&self, pod: &Pod, ifname: &str, conf: &Value) -> Outcome {
        self.attachment("ADD", pod, ifname, conf)
    }

    /// DEL with the namespace's path, whether it exists or not.
    pub fn del(&self, pod: &Pod, ifname: &str, conf: &Value) -> Outcome {
        self.attachment("DEL", pod, ifname, conf)
    }

    /// DEL with an empty `CNI_NETNS`.
    pub fn del_without_netns(&self, pod: &Pod, ifname: &str, conf: &Value) -> Outcome {
        self.call(&Call { command: "DEL", id: pod.id(), netns: "", ifname }, conf)
    }

    /// CHECK; `result` becomes `prevResult`.
    pub fn check(&self, pod: &Pod, ifname: &str, conf: &Value, result: &Value) -> Outcome {
        let mut conf = conf.clone();
        conf["prevResult"] = result.clone();
        self.attachment("CHECK", pod, ifname, &conf)
    }

    /// GC with the attachments that are to stay, as (container ID, interface name).
    pub fn gc(&self, conf: &Value, valid: &[(&str, &str)]) -> Outcome {
        let list: Vec<Value> = valid
            .iter()
            .map(|(id, ifname)| serde_json::json!({"containerID": id, "ifname": ifname}))
            .collect();
        let mut conf = conf.clone();
        conf["cni.dev/valid-attachments"] = Value::Array(list);
        self.node_verb("GC", &conf)
    }

    /// STATUS.
    pub fn status(&self, conf: &Value) -> Outcome {
        self.node_verb("STATUS", conf)
    }

    /// VERSION with this `cniVersion`.
    pub fn version(&self, version: &str) -> Outcome {
        self.node_verb("VERSION", &serde_json::json!({"cniVersion": version}))
    }

    /// Any verb with the variables of an attachment.
    pub fn attachment(&self, command: &str, pod: &Pod, ifname: &str, conf: &Value) -> Outcome {
        let netns = pod.path().to_string_lossy();
        self.call(&Call { command, id: pod.id(), netns: &netns, ifname }, conf)
    }

    /// Any verb that has no attachment.
    pub fn node_verb(&self, command: &str, conf: &Value) -> Outcome {
        let mut env = self.env.clone();
        env.push(("CNI_COMMAND".to_owned(), command.to_owned()));
        self.execute(command, env, conf.to_string().as_bytes())
    }

    /// Any call.
    pub fn call(&self, call: &Call<'_>, conf: &Value) -> Outcome {
        self.raw(call, conf.to_string().as_bytes())
    }

    /// Any call with any bytes on stdin.
    pub fn raw(&self, call: &Call<'_>, stdin: &[u8]) -> Outcome {
        let set = [
            ("CNI_COMMAND", call.command),
            ("CNI_CONTAINERID", call.id),
            ("CNI_NETNS", call.netns),
            ("CNI_IFNAME", call.ifname),
        ];
        let env = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let env: Vec<_> = env.chain(self.env.iter().cloned()).collect();
        self.execute(call.command, env, stdin)
    }

    fn execute(&self, verb: &str, env: Vec<(String, String)>, stdin: &[u8]) -> Outcome {
        let mut command = match self.kill {
            Some(Kill::AtSyscall(n)) => traced(&self.program, n),
            _ => Command::new(&self.program),
        };
        command.env_clear().envs(env.into_iter().filter(|(k, _)| !self.without.contains(k)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.limit.is_some() {
            command.process_group(0);
        }
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        let what = format!("{name} {verb}");
        let run = || finish(start(&mut command), what, stdin, (self.kill, self.limit));
        let node: &Ns = self.lab.node();
        if self.over.is_empty() { node.run(run) } else { node.run_private(&self.over, run) }
    }
}

/// The program under a tracer that kills it at its `n`th system call. The one that starts the
/// program is the first.
fn traced(program: &Path, n: u32) -> Command {
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "-e"]);
    command.arg(format!("inject=all:signal=KILL:when={n}"));
    command.arg("--").arg(program);
    command
}

fn start(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|e| panic!("{}: {e}", command.get_program().to_string_lossy()))
}

fn finish(
    mut child: Child,
    what: String,
    stdin: &[u8],
    (moment, limit): (Option<Kill>, Option<Duration>),
) -> Outcome {
    let child_id = child.id();
    if limit.is_some() {
        running::begun(&child);
    }
    let pid = Pid::from_raw(i32::try_from(child_id).expect("a pid"));
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let (ended, end) = mpsc::channel::<()>();
    let output = std::thread::scope(|s| {
        // A plugin may end without reading all: then the pipe is broken, and its answer counts.
        s.spawn(move || drop(input.write_all(stdin)));
        if let Some(Kill::After(delay)) = moment {
            s.spawn(move || {
                std::thread::sleep(delay);
                // Not waited for yet, so the pid is still the plugin's.
                let _ = kill(pid, Signal::SIGKILL);
            });
        }
        if let Some(limit) = limit {
            s.spawn(move || {
                if end.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    // Its group is its own, and lives while its output is held.
                    let _ = killpg(pid, Signal::SIGKILL);
                }
            });
        }
        let output = child.wait_with_output().expect("wait for the plugin");
        drop(ended);
        output
    });
    if limit.is_some() {
        running::ended(child_id);
    }
    Outcome {
        what,
        exit: output.status.code(),
        signal: output.status.signal(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
