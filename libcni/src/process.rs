//! Running plugins for real: spawned asynchronously, killed with their children when given up.

use crate::invoke::{Invocation, Invoke, InvokeFuture};
use crate::tree;
use cni_exec::Output;
use cni_types::PluginType;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

/// Parameters of the protocol: whatever the caller's environment says of them is not passed on.
const PARAMETERS: [&str; 6] =
    ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];

/// More standard output than this is no answer of a plugin, in bytes.
const STDOUT_MAX: usize = 4 << 20;

/// How much of standard error is kept, from its end, in bytes.
const STDERR_KEPT: usize = 64 << 10;

/// First pause before an executable that is still being written is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How often it is tried again; the pause doubles each time, to 5 s in all.
const BUSY_TRIES: u32 = 9;

/// Runs plugins as child processes, each in a process group of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Programs;

impl Invoke for Programs {
    fn find(&self, plugin: &PluginType, dirs: &[PathBuf]) -> Result<PathBuf, cni_types::Error> {
        cni_exec::find(plugin, dirs)
    }

    fn run<'a>(
        &'a self,
        call: &'a Invocation,
        started: &'a (dyn Fn(u32) + Send + Sync),
    ) -> InvokeFuture<'a> {
        Box::pin(async move {
            let mut running = Running { child: spawn(call).await? };
            if let Some(pid) = running.child.id() {
                started(pid);
            }
            running.finish(&call.stdin).await
        })
    }
}

/// Starts the program; one that is being replaced right now (`ETXTBSY`) is tried again, as
/// installers copy over plugins in use.
async fn spawn(call: &Invocation) -> std::io::Result<Child> {
    let mut pause = BUSY_PAUSE;
    let mut tries = BUSY_TRIES;
    loop {
        let mut command = Command::new(&call.program);
        for name in PARAMETERS {
            command.env_remove(name);
        }
        command
            .envs(call.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        match command.spawn() {
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && tries > 0 => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                tries -= 1;
            }
            outcome => return outcome,
        }
    }
}

/// A started plugin; dropped before its end it is killed with its children.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not yet reaped, so the number still names this process and its group.
        if let Some(pid) = self.child.id() {
            tree::kill(pid);
        }
    }
}

impl Running {
    async fn finish(&mut self, stdin: &[u8]) -> std::io::Result<Output> {
        let (input, output, errors) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let (Some(input), Some(mut output), Some(mut errors)) = (input, output, errors) else {
            return Err(std::io::Error::other("its standard streams are not pipes"));
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = {
            let talk = async {
                tokio::try_join!(
                    feed(input, stdin),
                    collect(&mut output, &mut stdout, Keep::Whole),
                    collect(&mut errors, &mut stderr, Keep::Tail)
                )
            };
            tokio::select! {
                talked = talk => { talked?; None }
                status = self.child.wait() => Some(status?),
            }
        };
        let status = match ended {
            None => self.child.wait().await?,
            // The plugin has ended but something still holds its streams, a daemon that it
            // started for example. All that it wrote itself is in the pipes by now.
            Some(status) => {
                drain(output.into_owned_fd()?, &mut stdout)?;
                drain(errors.into_owned_fd()?, &mut stderr)?;
                status
            }
        };
        Ok(Output { status, stdout, stderr })
    }
}

async fn feed(mut pipe: ChildStdin, bytes: &[u8]) -> std::io::Result<()> {
    match pipe.write_all(bytes).await {
        // A plugin need not read its configuration to the end, VERSION for example.
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Whole,
    Tail,
}

async fn collect(
    pipe: &mut (impl AsyncRead + Unpin),
    into: &mut Vec<u8>,
    keep: Keep,
) -> std::io::Result<()> {
    while pipe.read_buf(into).await? > 0 {
        match keep {
            Keep::Whole if into.len() > STDOUT_MAX => {
                let text = format!("it printed more than {STDOUT_MAX} bytes");
                return Err(std::io::Error::new(ErrorKind::InvalidData, text));
            }
            Keep::Tail if into.len() > 2 * STDERR_KEPT => {
                into.drain(..into.len() - STDERR_KEPT);
            }
            Keep::Whole | Keep::Tail => {}
        }
    }
    Ok(())
}

/// Reads what is in the pipe now, without waiting for more.
fn drain(pipe: OwnedFd, into: &mut Vec<u8>) -> std::io::Result<()> {
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let room = STDOUT_MAX.saturating_sub(into.len());
    let mut file = std::fs::File::from(pipe).take(room as u64);
    match file.read_to_end(into) {
        Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
        _ => Ok(()),
    }
}
