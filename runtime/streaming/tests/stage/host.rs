//! A backend that runs programs of this machine and connects to its loopback.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use streaming::{
    Attach, Backend, Error, Exec, Future, Kind, Process, Result, Server, Settings, Size, Streams,
};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Runs programs; remembers what it was told.
#[derive(Clone, Default)]
pub(crate) struct Host {
    /// Sizes terminals were set to.
    pub(crate) sizes: Arc<Mutex<Vec<Size>>>,
    /// Processes whose client went before their end.
    pub(crate) abandoned: Arc<Mutex<usize>>,
}

impl Host {
    fn run(&self, command: &[String], terminal: bool, streams: Streams) -> Result<Process> {
        let pipe = |wanted| if wanted { Stdio::piped() } else { Stdio::null() };
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(pipe(streams.stdin))
            .stdout(pipe(streams.stdout))
            .stderr(pipe(streams.stderr))
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| Error::new(Kind::Internal, &command[0], cause))?;
        let sizes = Arc::clone(&self.sizes);
        let mut watch = Watch { abandoned: Arc::clone(&self.abandoned), over: false };
        Ok(Process {
            stdin: child.stdin.take().map(|stdin| Box::pin(stdin) as _),
            stdout: child.stdout.take().map(|stdout| Box::pin(stdout) as _),
            stderr: child.stderr.take().map(|stderr| Box::pin(stderr) as _),
            resize: terminal.then(|| {
                Box::new(move |size| {
                    sizes.lock().unwrap().push(size);
                    Box::pin(std::future::ready(())) as Future<'static, ()>
                }) as _
            }),
            exit: Box::pin(async move {
                let status = child.wait().await;
                watch.is_over();
                let status = status.map_err(|cause| Error::new(Kind::Io, "process", cause))?;
                Ok(status.code().unwrap_or(137))
            }),
        })
    }
}

struct Watch {
    abandoned: Arc<Mutex<usize>>,
    over: bool,
}

impl Watch {
    fn is_over(&mut self) {
        self.over = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.over {
            *self.abandoned.lock().unwrap() += 1;
        }
    }
}

impl Backend for Host {
    fn exec(&self, exec: Exec) -> Future<'_, Result<Process>> {
        Box::pin(async move { self.run(&exec.command, exec.terminal, exec.streams) })
    }

    /// Attaches to a program that repeats its input and ends with code 7.
    fn attach(&self, attach: Attach) -> Future<'_, Result<Process>> {
        let command = ["sh", "-c", "cat; exit 7"].map(str::to_owned);
        Box::pin(async move { self.run(&command, attach.terminal, attach.streams) })
    }

    fn connect<'a>(&'a self, _: &'a str, port: u16) -> Future<'a, Result<TcpStream>> {
        Box::pin(async move {
            let failed = |cause| Error::new(Kind::NotFound, format!("port {port}"), cause);
            TcpStream::connect(("127.0.0.1", port)).await.map_err(failed)
        })
    }
}

/// A server with settings of its own.
pub(crate) async fn serve_with(settings: Settings) -> (Server, Host) {
    let host = Host::default();
    let server = Server::bind(settings, Arc::new(host.clone())).await.unwrap();
    (server, host)
}

/// A server.
pub(crate) async fn serve() -> (Server, Host) {
    serve_with(Settings::default()).await
}

/// A shell command with the streams whose letters are given: i, o, e; t for a terminal.
pub(crate) fn exec(script: &str, streams: &str) -> Exec {
    Exec {
        container: "c1".to_owned(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        terminal: streams.contains('t'),
        streams: letters(streams),
    }
}

/// A container to attach to.
pub(crate) fn attach(streams: &str) -> Attach {
    let terminal = streams.contains('t');
    Attach { container: "c1".to_owned(), terminal, streams: letters(streams) }
}

fn letters(streams: &str) -> Streams {
    let [stdin, stdout, stderr] = ['i', 'o', 'e'].map(|letter| streams.contains(letter));
    Streams { stdin, stdout, stderr }
}
