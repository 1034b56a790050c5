//! The making of a container's process by the pod's shim, which goes on when its creation was answered.
//! Whoever needs the process waits for it here, and hears why there is none.

use crate::container::Container;
use crate::shared::Shared;
use crate::{Error, Handler, Kind, Result, watch};
use cri_api::v1::ContainerState;
use oci::Bundle;
use runtime_spec::Spec;
use shim_client::Shim;
use shim_protocol::{CgroupDriver, Create, Created, Log, Phase, Runtime, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a shim is asked for the end of a making that another connection began.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// How the making of a container's process stands: done, unless it is begun here.
#[derive(Debug)]
pub(crate) struct Making(tokio::sync::watch::Sender<Option<Result<()>>>);

impl Default for Making {
    fn default() -> Making {
        Making(tokio::sync::watch::Sender::new(Some(Ok(()))))
    }
}

impl Making {
    /// Waits for its end.
    ///
    /// # Errors
    /// Why it failed.
    pub(crate) async fn outcome(&self) -> Result<()> {
        let mut seen = self.0.subscribe();
        // The sender lives as long as the container.
        match seen.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(broken_off()),
        }
    }
}

fn broken_off() -> Error {
    Error::new(Kind::Internal, "container", "whoever made it ended without an outcome")
}

/// A making that goes on. Should its work break off, nobody waits for its end for ever.
#[derive(Debug)]
pub(crate) struct Begun(Arc<Container>);

impl Begun {
    pub(crate) fn new(container: &Arc<Container>) -> Begun {
        container.making.0.send_replace(None);
        Begun(container.clone())
    }

    /// Notes how it ended. The process's number is found again by who opens the directory next.
    pub(crate) async fn end(self, shared: &Arc<Shared>, shim: &Shim, made: Result<Created>) {
        let container = &self.0;
        let outcome = match made {
            Ok(created) => {
                for warning in &created.warnings {
                    tracing::warn!(container = container.id(), warning, "odd configuration");
                }
                container.adjust(|status| {
                    // It may have ended by now.
                    if status.state() == ContainerState::ContainerCreated {
                        status.pid = created.pid;
                    }
                });
                Ok(())
            }
            Err(e) => {
                tracing::warn!(container = container.id(), error = %e, "it cannot be started");
                Err(e)
            }
        };
        let is_lost = matches!(&outcome, Err(e) if e.kind() == Kind::Unavailable);
        container.making.0.send_replace(Some(outcome));
        if is_lost {
            // Whoever listens to the shim may have told its end before the container was listed.
            watch::lost(shared, container, shim.about().pid).await;
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.making.0.send_if_modified(|outcome| {
            let is_open = outcome.is_none();
            if is_open {
                *outcome = Some(Err(broken_off()));
            }
            is_open
        });
    }
}

/// Waits until a container can be started. One whose shim gave no answer in time is asked for again.
///
/// # Errors
/// Why it could not be made.
pub(crate) async fn made(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    shim: &Shim,
) -> Result<()> {
    match container.making.outcome().await {
        Err(e) if e.kind() == Kind::Deadline => {
            resume(shared, container, shim, Begun::new(container)).await;
            container.making.outcome().await
        }
        outcome => outcome,
    }
}

/// Goes on with a making that an earlier process began, or of which no end was heard.
pub(crate) async fn resume(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    shim: &Shim,
    begun: Begun,
) {
    let made = ask_again(shared, container, shim).await;
    begun.end(shared, shim, made).await;
}

/// Has the shim make a container, or finish what it is at.
async fn ask_again(shared: &Shared, container: &Container, shim: &Shim) -> Result<Created> {
    let order = order(shared, container)?;
    let id = container.id();
    let until = Instant::now() + shared.settings.shim_deadline;
    loop {
        match shared.ask(id, shim.create(&order)).await {
            Err(e) if e.kind() == Kind::AlreadyExists => {}
            made => return made,
        }
        match shared.ask(id, shim.state(id)).await {
            Ok(state) if state.phase != Phase::Creating => {
                return Ok(Created { pid: state.pid, warnings: Vec::new() });
            }
            // It failed just now: made once more, it says why.
            Err(e) if e.kind() == Kind::NotFound => {}
            Ok(_) if Instant::now() < until => sleep(ASK_AGAIN).await,
            Ok(_) => {
                let cause = format!("is being made for {:?}", shared.settings.shim_deadline);
                let e = Error::new(Kind::Deadline, container.name(), cause);
                return Err(e.with_advice("look at the pod's shim.log, or stop the pod"));
            }
            Err(e) => return Err(e),
        }
    }
}

/// How containers of a runtime handler are made.
///
/// # Errors
/// It is not configured.
pub(crate) fn handler(shared: &Shared, name: &str) -> Result<Handler> {
    match (shared.settings.handlers.get(name), name) {
        (Some(handler), _) => Ok(handler.clone()),
        (None, "") => Ok(Handler::default()),
        (None, _) => {
            let subject = format!("runtime handler {name:?}");
            let e = Error::new(Kind::Invalid, subject, "is not configured any more");
            Err(e.with_advice("configure it again, or remove the pod"))
        }
    }
}

/// The bundle of a container, which is not written down yet.
///
/// # Errors
/// Never, but for a faulty build.
pub(crate) fn bundle(container: &Container, spec: Spec) -> Result<Bundle> {
    Bundle::new(container.run_dir(), spec).map_err(|e| of_runtime(container.id(), e))
}

/// Checks a bundle as the linked runtime will; of what other programs want, nothing is known. Blocks.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(container: &Container, order: &Create, bundle: &Bundle) -> Result<()> {
    let Runtime::BuiltIn(settings) = &order.runtime else { return Ok(()) };
    let refused = |e| of_runtime(container.id(), e);
    let runtime = oci::Runtime {
        root: container.run_dir().to_owned(),
        cgroups: Some(container.cgroup_driver()),
        rootless: false,
    };
    let options = oci::CreateOptions {
        no_pivot: settings.no_pivot,
        filters: settings.filters.clone(),
        ..oci::CreateOptions::default()
    };
    let id = oci::ContainerId::new(container.id()).map_err(refused)?;
    runtime.check(&id, bundle, &options).map_err(refused)
}

/// What the runtime said of a container.
fn of_runtime(id: &str, e: oci::Error) -> Error {
    let kind = match e.kind {
        oci::Kind::Invalid => Kind::Invalid,
        oci::Kind::NotFound => Kind::NotFound,
        oci::Kind::Exists => Kind::AlreadyExists,
        oci::Kind::State | oci::Kind::Unsupported => Kind::Precondition,
        oci::Kind::Timeout => Kind::Deadline,
        oci::Kind::Hook | oci::Kind::System(_) => Kind::Io,
    };
    Error::new(kind, format!("container {id:.12}"), e)
}

/// What the shim is told of a container whose bundle is there.
///
/// # Errors
/// Its runtime handler is not configured.
pub(crate) fn order(shared: &Shared, container: &Container) -> Result<Create> {
    let systemd = container.record.systemd;
    let runtime = match handler(shared, container.handler())?.runtime {
        Runtime::BuiltIn(mut built_in) => {
            built_in.cgroups = Some(match systemd {
                true => CgroupDriver::Systemd,
                false => CgroupDriver::Cgroupfs,
            });
            built_in.filters.get_or_insert_with(|| shared.settings.run_dir.join("filters"));
            Runtime::BuiltIn(built_in)
        }
        Runtime::Program(mut program) => {
            program.systemd = systemd;
            Runtime::Program(program)
        }
    };
    let (config, settings) = (container.config(), &shared.settings);
    let log = container.log_path().map(|path| Log {
        path: path.to_owned(),
        max_bytes: settings.log_max_bytes,
        max_rate: settings.log_max_rate,
    });
    let stdio =
        Stdio { terminal: config.tty, stdin: config.stdin, stdin_once: config.stdin_once, log };
    Ok(Create {
        id: container.id().to_owned(),
        bundle: container.run_dir().to_owned(),
        runtime,
        stdio,
    })
}
