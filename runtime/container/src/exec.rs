//! Adding processes to a container.

use crate::container::Container;
use crate::process::{Attach, Exec, Process, Resizer};
use crate::shared::{Shared, of_shim};
use crate::streams::{Terminal, connect};
use crate::{Error, Kind, Result};
use cri_api::v1::ContainerState;
use sandbox::{blocking, names::new_id};
use shim_client::{Descriptors, Execution, Shim};
use shim_protocol::Whom;
use std::sync::Arc;

/// Longest configuration of a bundle that is read, in bytes.
const CONFIG_MAX: u64 = 16 << 20;

/// A container that runs, and the way to it.
pub(crate) struct Running {
    pub(crate) container: Arc<Container>,
    pub(crate) shim: Shim,
}

impl Running {
    /// Finds it.
    ///
    /// # Errors
    /// It is not there, or does not run.
    pub(crate) fn find(shared: &Shared, id: &str) -> Result<Running> {
        let container = shared.get(id)?;
        if container.state() != ContainerState::ContainerRunning {
            let e = Error::new(Kind::Precondition, container.name(), "does not run");
            return Err(e.with_advice("start it first"));
        }
        let shim = shared.pods.get(container.sandbox_id())?.shim()?;
        Ok(Running { container, shim })
    }

    /// Finds one whose process has its streams already, though it may have to be started yet.
    ///
    /// # Errors
    /// It is not there, could not be made, or has ended.
    pub(crate) async fn find_made(shared: &Shared, id: &str) -> Result<Running> {
        let container = shared.get(id)?;
        container.making.outcome().await?;
        if container.state() != ContainerState::ContainerCreated {
            return Running::find(shared, id);
        }
        let shim = shared.pods.get(container.sandbox_id())?.shim()?;
        Ok(Running { container, shim })
    }

    /// What an added process is like: the container's own, with another program.
    async fn process(&self, command: Vec<String>, terminal: bool) -> Result<serde_json::Value> {
        let own = match self.container.process.get() {
            Some(own) => own.clone(),
            None => {
                let path = self.container.run_dir().join("config.json");
                let read = blocking(move || read_process(&path)).await?;
                self.container.process.get_or_init(|| Arc::new(read)).clone()
            }
        };
        let mut process = runtime_spec::Process::clone(&own);
        process.args = command;
        process.terminal = terminal;
        process.console_size = None;
        if terminal {
            crate::spec::name_terminal(&mut process.env);
        }
        serde_json::to_value(&process)
            .map_err(|e| Error::new(Kind::Internal, self.container.name(), e))
    }

    /// Adds the process.
    ///
    /// # Errors
    /// It cannot be executed, or the container has ended.
    pub(crate) async fn add(
        &self,
        shared: &Shared,
        (command, terminal): (Vec<String>, bool),
        descriptors: Descriptors,
    ) -> Result<Added> {
        if command.first().is_none_or(String::is_empty) {
            return Err(Error::new(Kind::Invalid, "command", "is empty"));
        }
        let process = self.process(command, terminal).await?;
        let (id, exec_id) = (self.container.id().to_owned(), new_id()?);
        // From now on it ends with whoever waits for it.
        let mut kill = Kill { shim: self.shim.clone(), id, exec_id, armed: true };
        let call = self.shim.exec(&kill.id, &kill.exec_id, process, descriptors);
        match shared.ask(&kill.id, call).await {
            Ok(execution) => Ok(Added { execution, kill }),
            Err(e) => {
                kill.armed = e.kind() == Kind::Deadline;
                Err(e)
            }
        }
    }
}

fn read_process(path: &std::path::Path) -> Result<runtime_spec::Process> {
    let fail = |e: &std::io::Error| Error::io(path.display(), e);
    let length = std::fs::metadata(path).map_err(|e| fail(&e))?.len();
    if length > CONFIG_MAX {
        return Err(Error::new(Kind::Io, path.display(), "is longer than any configuration"));
    }
    let text = std::fs::read(path).map_err(|e| fail(&e))?;
    let spec: runtime_spec::Spec =
        serde_json::from_slice(&text).map_err(|e| Error::new(Kind::Io, path.display(), e))?;
    Ok(spec.process.unwrap_or_default())
}

/// An added process.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) execution: Execution,
    pub(crate) kill: Kill,
}

/// Kills an added process when it is dropped, unless that has ended.
#[derive(Debug)]
pub(crate) struct Kill {
    shim: Shim,
    id: String,
    exec_id: String,
    armed: bool,
}

impl Kill {
    /// The process has ended.
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Kill {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !std::mem::take(&mut self.armed) {
            return;
        }
        let (shim, id) = (self.shim.clone(), std::mem::take(&mut self.id));
        let exec_id = std::mem::take(&mut self.exec_id);
        runtime.spawn(async move { kill(&shim, &id, exec_id).await });
    }
}

async fn kill(shim: &Shim, id: &str, exec_id: String) -> Result<()> {
    match shim.kill(id, crate::signal::KILL, Whom::Exec(exec_id)).await {
        Err(e)
            if matches!(
                e.kind,
                shim_client::Kind::NotFound
                    | shim_client::Kind::Precondition
                    | shim_client::Kind::Unavailable
            ) =>
        {
            Ok(())
        }
        other => other.map_err(|e| of_shim(id, &e)),
    }
}

/// Adds a process with streams.
pub(crate) async fn exec(shared: &Arc<Shared>, id: &str, wanted: Exec) -> Result<Process> {
    let running = Running::find(shared, id)?;
    let mut process = Process::unattached();
    // With a terminal there is one stream, which comes with the answer.
    let piped = match wanted.terminal {
        true => Attach::default(),
        false => Attach { stdin: wanted.stdin, stdout: wanted.stdout, stderr: wanted.stderr },
    };
    let ours = connect(&mut process, piped)?;
    let Added { mut execution, kill: mut guard } =
        running.add(shared, (wanted.command, wanted.terminal), ours).await?;
    if let Some(master) = execution.terminal.take() {
        let terminal = Terminal::new(master)?;
        process.stdin = wanted.stdin.then(|| terminal.writer()).transpose()?;
        process.stdout = wanted.stdout.then(|| terminal.reader()).transpose()?;
        process.resize = Some(Resizer(Arc::new(move |size| {
            let outcome = shim_client::resize(terminal.master(), size);
            Box::pin(async move { outcome.map_err(|e| of_shim("its terminal", &e)) })
        })));
    }
    let (shim, id, exec_id) = (running.shim, guard.id.clone(), guard.exec_id.clone());
    guard.disarm();
    process.kill = Arc::new(move || {
        let (shim, id, exec_id) = (shim.clone(), id.clone(), exec_id.clone());
        Box::pin(async move { kill(&shim, &id, exec_id).await })
    });
    let id = running.container.id().to_owned();
    process.exit = Box::pin(async move {
        let exit = execution.wait().await.map_err(|e| of_shim(&id, &e))?;
        Ok(exit.code)
    });
    Ok(process)
}
