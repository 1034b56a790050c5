//! Who runs the commands and opens the connections of streams.

use crate::status::Result;
use ::streaming::{Attach, Backend, Error, Exec, Future, Process, Resize, Size};
use container::{Container, Containers};
use cri_api::v1::ContainerState;
use netns::Netns;
use sandbox::{Kind, Sandboxes, State};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// How long a port in a pod may take to accept.
const CONNECT: Duration = Duration::from_secs(10);

/// The container, if there are streams of it.
///
/// # Errors
/// There is no such container, or it does not run.
pub(crate) fn running(cri: &crate::Cri, id: &str) -> Result<Arc<Container>> {
    let container = cri.containers().get(id)?;
    if container.state() != ContainerState::ContainerRunning {
        let subject = format!("container {:?}", container.id());
        return Err(sandbox::Error::new(Kind::Precondition, subject, "does not run").into());
    }
    Ok(container)
}

/// The container, if its own process has streams: also before it is started.
///
/// # Errors
/// There is no such container, or it has ended.
pub(crate) fn attachable(cri: &crate::Cri, id: &str) -> Result<Arc<Container>> {
    let container = cri.containers().get(id)?;
    match container.state() {
        ContainerState::ContainerCreated => Ok(container),
        _ => running(cri, id),
    }
}

/// Streams of containers and pods.
pub(crate) struct Streams {
    pub(crate) pods: Sandboxes,
    pub(crate) containers: Containers,
}

impl Backend for Streams {
    fn exec(&self, exec: Exec) -> Future<'_, streaming::Result<Process>> {
        Box::pin(async move {
            let command = container::Exec {
                command: exec.command,
                terminal: exec.terminal,
                stdin: exec.streams.stdin,
                stdout: exec.streams.stdout,
                stderr: exec.streams.stderr,
            };
            let process = self.containers.exec(&exec.container, command).await.map_err(fault)?;
            Ok(passed_on(process))
        })
    }

    fn attach(&self, attach: Attach) -> Future<'_, streaming::Result<Process>> {
        Box::pin(async move {
            let streams = container::Attach {
                stdin: attach.streams.stdin,
                stdout: attach.streams.stdout,
                stderr: attach.streams.stderr,
            };
            let attached = self.containers.attach(&attach.container, streams).await;
            Ok(passed_on(attached.map_err(fault)?))
        })
    }

    fn connect<'a>(
        &'a self,
        pod: &'a str,
        port: u16,
    ) -> Future<'a, streaming::Result<tokio::net::TcpStream>> {
        Box::pin(async move {
            let subject = format!("port {port} of pod {pod:?}");
            let pod = self.pods.get(pod).map_err(fault)?;
            if pod.state() != State::Ready {
                return Err(Error::new(
                    streaming::Kind::Precondition,
                    subject,
                    "the pod is not ready",
                ));
            }
            let space = pod.network().netns.clone();
            let connecting = tokio::task::spawn_blocking(move || match space {
                None => connect(port),
                Some(path) => {
                    let space = Netns::open(&path).map_err(io::Error::other)?;
                    space.run(|| connect(port)).map_err(io::Error::other)?
                }
            });
            let failed = |cause: &dyn std::fmt::Display| {
                Error::new(streaming::Kind::NotFound, &subject, cause)
                    .with_advice("a program in the pod must listen on the port at localhost")
            };
            let stream = connecting.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
            tokio::net::TcpStream::from_std(stream).map_err(|e| failed(&e))
        })
    }
}

/// Connects to a port on the loopback of the calling thread's namespace.
fn connect(port: u16) -> io::Result<TcpStream> {
    let at = |ip: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(ip, port), CONNECT);
    let first = at(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let stream = first.or_else(|e| at(IpAddr::V6(Ipv6Addr::LOCALHOST)).map_err(|_| e))?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn fault(error: sandbox::Error) -> Error {
    let kind = match error.kind() {
        Kind::NotFound => streaming::Kind::NotFound,
        Kind::Invalid | Kind::AlreadyExists => streaming::Kind::Invalid,
        Kind::Precondition => streaming::Kind::Precondition,
        Kind::Deadline => streaming::Kind::Deadline,
        Kind::Io => streaming::Kind::Io,
        Kind::Unavailable | Kind::Internal => streaming::Kind::Internal,
    };
    Error::new(kind, error.subject(), error.cause()).with_advice(error.advice())
}

/// Ends a command that still runs when its client is gone; nothing happens to an attached container.
struct End(Option<Arc<dyn Fn() -> container::Future<'static, ()> + Send + Sync>>);

impl End {
    /// The command has ended by itself.
    fn is_over(&mut self) {
        self.0 = None;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let (Some(kill), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            if let Err(e) = kill().await {
                tracing::warn!(cause = %e, "a command whose client is gone could not be ended");
            }
        });
    }
}

fn passed_on(process: container::Process) -> Process {
    let exit = process.exit;
    let mut end = End(Some(process.kill));
    let exit = Box::pin(async move {
        let code = exit.await;
        end.is_over();
        code.map_err(fault)
    });
    let resize = process.resize.map(|resizer| {
        let resize: Resize = Box::new(move |size: Size| {
            let resizer = resizer.clone();
            Box::pin(async move {
                let size = container::Size { width: size.width, height: size.height };
                if let Err(e) = resizer.resize(size).await {
                    tracing::debug!(cause = %e, "a terminal was not resized");
                }
            })
        });
        resize
    });
    Process { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, resize, exit }
}
