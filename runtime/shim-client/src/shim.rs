//! One shim, and one method for each operation.

use crate::connection::Connection;
use crate::{Error, Events, Execution, Kind, Result};
use rustix::fd::OwnedFd;
use shim_protocol::{
    Answer, Attach, Call, ContainerState, Create, Created, Event, Exec, Exit, MakeNamespaces,
    Namespaces, Size, Streams, Whom,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A shim that was reached. Clones share the connection, which ends with the last of them.
#[derive(Clone)]
pub struct Shim {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    about: shim_protocol::Shim,
    connection: Connection,
}

/// A client's ends of a process's standard streams, to be handed over. They may be pipes or sockets;
/// of a connected pair the daemon keeps the other end.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// What the process reads.
    pub stdin: Option<OwnedFd>,
    /// Where it writes.
    pub stdout: Option<OwnedFd>,
    /// Where it writes errors.
    pub stderr: Option<OwnedFd>,
}

impl Descriptors {
    fn streams(&self) -> Streams {
        Streams {
            stdin: self.stdin.is_some(),
            stdout: self.stdout.is_some(),
            stderr: self.stderr.is_some(),
        }
    }

    fn into_vec(self) -> Vec<OwnedFd> {
        [self.stdin, self.stdout, self.stderr].into_iter().flatten().collect()
    }
}

impl std::fmt::Debug for Shim {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shim").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Shim {
    pub(crate) fn new(dir: &Path, connection: Connection, about: shim_protocol::Shim) -> Shim {
        Shim { inner: Arc::new(Inner { dir: dir.to_owned(), about, connection }) }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// What it said of itself when it was reached.
    pub fn about(&self) -> &shim_protocol::Shim {
        &self.inner.about
    }

    /// Whether it still was there when last heard of.
    pub fn is_alive(&self) -> bool {
        !self.inner.connection.is_closed()
    }

    /// Waits until it is gone.
    pub async fn closed(&self) {
        self.inner.connection.closed().await;
    }

    /// Its events from now on.
    pub fn events(&self) -> Events {
        Events(self.inner.connection.events())
    }

    /// Makes and pins the pod's namespaces. Once for each shim.
    ///
    /// # Errors
    /// The kernel refused, a path is taken, or they were made before; nothing is left behind.
    pub async fn make_namespaces(&self, wanted: &MakeNamespaces) -> Result<Namespaces> {
        match self.ask(&Call::MakeNamespaces(wanted.clone())).await? {
            Answer::Namespaces(made) => Ok(made),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sets kernel parameters in the pod's namespaces: names with dots, and values.
    ///
    /// # Errors
    /// One is not of a namespace that the pod has, or the kernel refused it.
    pub async fn set_sysctls(&self, sysctls: &BTreeMap<String, String>) -> Result<()> {
        self.done(&Call::SetSysctls { sysctls: sysctls.clone() }).await
    }

    /// Makes a container whose process waits to be started.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`], [`Kind::Invalid`] for a wrong configuration, or a step failed; nothing
    /// is left behind.
    pub async fn create(&self, container: &Create) -> Result<Created> {
        match self.ask(&Call::Create(container.clone())).await? {
            Answer::Created(made) => Ok(made),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Starts the process of a container. On failure the container is stopped and can be deleted.
    ///
    /// # Errors
    /// Its program cannot be executed, or it was started before.
    pub async fn start(&self, id: &str) -> Result<()> {
        self.done(&Call::Start { id: id.to_owned() }).await
    }

    /// Sends a signal, by number.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for no such container or process, [`Kind::Precondition`] when it has ended.
    pub async fn kill(&self, id: &str, signal: i32, whom: Whom) -> Result<()> {
        self.done(&Call::Kill { id: id.to_owned(), signal, whom }).await
    }

    /// Removes a container that has ended; one that runs too, when forced. One that is not there is no
    /// error.
    ///
    /// # Errors
    /// It runs, or something of it does not go away.
    pub async fn delete(&self, id: &str, force: bool) -> Result<()> {
        self.done(&Call::Delete { id: id.to_owned(), force }).await
    }

    /// Changes limits; `resources` is `linux.resources` of the runtime specification.
    ///
    /// # Errors
    /// A limit is wrong, or this node cannot set it.
    pub async fn update(&self, id: &str, resources: serde_json::Value) -> Result<()> {
        self.done(&Call::Update { id: id.to_owned(), resources }).await
    }

    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// It does not run.
    pub async fn pause(&self, id: &str) -> Result<()> {
        self.done(&Call::Pause { id: id.to_owned() }).await
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// It is not paused.
    pub async fn resume(&self, id: &str) -> Result<()> {
        self.done(&Call::Resume { id: id.to_owned() }).await
    }

    /// Adds a process to a container; `process` is that of the runtime specification. It reads and
    /// writes the descriptors themselves, unless it has a terminal: then they are not used.
    ///
    /// # Errors
    /// The container does not run, or the program cannot be executed.
    pub async fn exec(
        &self,
        id: &str,
        exec_id: &str,
        process: serde_json::Value,
        descriptors: Descriptors,
    ) -> Result<Execution> {
        let connection = &self.inner.connection;
        let exit = connection.exit_of(id, exec_id)?;
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let subject = format!("process {exec_id} of {id}");
        let exec = Exec { id, exec_id, process, streams: descriptors.streams() };
        match connection.call(&Call::Exec(exec), descriptors.into_vec()).await? {
            (Answer::Executed(made), fds) => {
                let terminal = fds.into_iter().next();
                Ok(Execution { pid: made.pid, terminal, subject, exit })
            }
            (other, _) => Err(self.unexpected(&other)),
        }
    }

    /// Connects streams to those of a container, until either side closes its end. A client that does
    /// not read for seconds while the container writes is cut off; the log misses nothing.
    ///
    /// # Errors
    /// The container does not run, or has no input to attach to.
    pub async fn attach(&self, id: &str, descriptors: Descriptors) -> Result<()> {
        let attach = Attach { id: id.to_owned(), streams: descriptors.streams() };
        let call = Call::Attach(attach);
        match self.inner.connection.call(&call, descriptors.into_vec()).await? {
            (Answer::Done, _) => Ok(()),
            (other, _) => Err(self.unexpected(&other)),
        }
    }

    /// Sets the size of a container's terminal. For that of a process that was added see
    /// [`resize`](crate::resize).
    ///
    /// # Errors
    /// It has no terminal.
    pub async fn resize(&self, id: &str, size: Size) -> Result<()> {
        self.done(&Call::Resize { id: id.to_owned(), size }).await
    }

    /// Ends the standard input of a container.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn close_stdin(&self, id: &str) -> Result<()> {
        self.done(&Call::CloseStdin { id: id.to_owned() }).await
    }

    /// Opens the log anew at its path: the old file has been renamed. No line is lost.
    ///
    /// # Errors
    /// The file cannot be made; the old one is kept.
    pub async fn reopen_log(&self, id: &str) -> Result<()> {
        self.done(&Call::ReopenLog { id: id.to_owned() }).await
    }

    /// All containers of the pod that the shim knows.
    ///
    /// # Errors
    /// The shim is gone.
    pub async fn list(&self) -> Result<Vec<ContainerState>> {
        match self.ask(&Call::List).await? {
            Answer::Containers(all) => Ok(all),
            other => Err(self.unexpected(&other)),
        }
    }

    /// One container.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn state(&self, id: &str) -> Result<ContainerState> {
        match self.ask(&Call::State { id: id.to_owned() }).await? {
            Answer::Container(state) => Ok(*state),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits for the end of a container's first process, which may have come already.
    ///
    /// # Errors
    /// There is no such container, or the shim is gone.
    pub async fn wait(&self, id: &str) -> Result<Exit> {
        let mut events = self.events();
        if let Some(exit) = self.state(id).await?.exit {
            return Ok(exit);
        }
        while let Some(event) = events.next().await {
            if let Event::Exited(exit) = event
                && exit.id == id
                && exit.exec_id.is_none()
            {
                return Ok(exit);
            }
        }
        Err(crate::gone(self.inner.connection.subject()))
    }

    /// Ends the shim, and waits until it is gone; its pinned namespaces stay, see
    /// [`unpin`](crate::unpin). Forced, its containers are killed and removed first.
    ///
    /// # Errors
    /// A container runs and it is not forced.
    pub async fn shutdown(&self, force: bool) -> Result<()> {
        match self.done(&Call::Shutdown { force }).await {
            Err(error) if error.kind != Kind::Unavailable => return Err(error),
            _ => {}
        }
        self.closed().await;
        Ok(())
    }

    async fn ask(&self, call: &Call) -> Result<Answer> {
        self.inner.connection.call(call, Vec::new()).await.map(|(answer, _)| answer)
    }

    async fn done(&self, call: &Call) -> Result<()> {
        match self.ask(call).await? {
            Answer::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn unexpected(&self, answer: &Answer) -> Error {
        let cause = format!("answers something else than was asked: {answer:?}");
        Error::new(Kind::Internal, self.inner.connection.subject(), cause)
    }
}
