//! What each call does: at once, by a worker, or by a copier.

use crate::container::{Container, Process};
use crate::copy::{Copier, Order, Streams};
use crate::engine::{Added, Engine, Made, Read, name};
use crate::error::{Result, io, of_runtime};
use crate::pod::Pod;
use crate::work::{Apply, Line, Ticket};
use crate::{exits, namespaces, reap, stdio};
use rustix::fd::{AsFd, OwnedFd};
use shim_protocol::{
    Answer, Attach, Call, Create, Created, Error, Exec, Executed, Kind, Phase, Size, VERSIONS, Whom,
};

/// `SIGKILL`.
pub(crate) const KILL: i32 = 9;

/// Begins a call. The value is its answer, when that is known at once.
pub(crate) fn begin(
    pod: &mut Pod,
    ticket: Ticket,
    call: Call,
    fds: Vec<OwnedFd>,
) -> Result<Option<Answer>> {
    match call {
        Call::Hello { versions } => hello(pod, &versions).map(Some),
        Call::MakeNamespaces(wanted) => namespaces::make(pod, ticket, wanted).map(|()| None),
        Call::SetSysctls { sysctls } => namespaces::set(pod, ticket, sysctls).map(|()| None),
        Call::Create(wanted) => create(pod, ticket, wanted).map(|()| None),
        Call::Start { id } => start(pod, ticket, id).map(|()| None),
        Call::Kill { id, signal, whom } => kill(pod, ticket, &id, signal, whom),
        Call::Delete { id, force } => crate::end::delete(pod, ticket, id, force),
        Call::Update { id, resources } => {
            change(pod, ticket, id, move |engine, id| engine.update(id, &resources))
        }
        Call::Pause { id } => freeze(pod, ticket, id, Phase::Paused),
        Call::Resume { id } => freeze(pod, ticket, id, Phase::Running),
        Call::Exec(wanted) => exec(pod, ticket, wanted, fds).map(|()| None),
        Call::Attach(wanted) => attach(pod, ticket, &wanted, fds).map(|()| None),
        Call::Resize { id, size } => resize(pod, &id, size).map(Some),
        Call::CloseStdin { id } => order(pod, ticket, &id, Order::CloseStdin).map(|()| None),
        Call::ReopenLog { id } => order(pod, ticket, &id, Order::ReopenLog).map(|()| None),
        Call::List => {
            let all = pod.containers.iter().map(|(id, container)| container.state(id));
            Ok(Some(Answer::Containers(all.collect())))
        }
        Call::State { id } => {
            let state = pod.container(&id)?.state(&id);
            Ok(Some(Answer::Container(Box::new(state))))
        }
        Call::Shutdown { force } => crate::end::shutdown(pod, ticket, force),
    }
}

fn hello(pod: &Pod, versions: &[u32]) -> Result<Answer> {
    let common = VERSIONS.into_iter().find(|version| versions.contains(version));
    let version = common.ok_or_else(|| {
        let cause = format!("speaks versions {VERSIONS:?}, and the daemon {versions:?}");
        Error::new(Kind::Unsupported, format!("shim of {}", pod.id), cause)
            .advise("stop the pod and make it anew")
    })?;
    Ok(Answer::Shim(shim_protocol::Shim {
        version,
        id: pod.id.clone(),
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        namespaces: pod.made_namespaces().cloned(),
    }))
}

/// Only an answer.
fn done(result: Result<Answer>) -> Apply {
    Box::new(move |_| (result, Vec::new()))
}

fn create(pod: &mut Pod, ticket: Ticket, wanted: Create) -> Result<()> {
    name(&wanted.id)?;
    if pod.containers.contains_key(&wanted.id) {
        return Err(Error::new(Kind::AlreadyExists, wanted.id, "the pod has this container"));
    }
    // Of one that had its name, under a shim that was killed.
    exits::remove(&pod.dir, &wanted.id)?;
    let engine = Engine::new(&pod.dir, &wanted.runtime);
    pod.containers.insert(wanted.id.clone(), Container::new(engine.clone()));
    let job = Box::new(move || {
        let made = make(&engine, &wanted);
        let apply: Apply =
            Box::new(move |pod: &mut Pod| (created(pod, &wanted.id, made), Vec::new()));
        apply
    });
    pod.crew.give(Line::Make, ticket, job);
    Ok(())
}

/// In a worker: the container, and who copies its output.
fn make(engine: &Engine, wanted: &Create) -> Result<(Made, Copier, bool)> {
    let read = Read::new(wanted)?;
    let copier = Copier::prepare(&wanted.stdio)?;
    let (ends, streams) = stdio::make(&wanted.stdio)?;
    let made = engine.create(&wanted.id, &read, streams)?;
    let copier = match &made.terminal {
        Some(master) => copier.terminal(master),
        None => copier.pipes(ends),
    };
    match copier {
        Ok(copier) => Ok((made, copier, read.shares_pids)),
        Err(error) => {
            // The failure is what is reported.
            let _ = engine.delete(&wanted.id, true);
            Err(error)
        }
    }
}

fn created(pod: &mut Pod, id: &str, made: Result<(Made, Copier, bool)>) -> Result<Answer> {
    let (made, copier, shares_pids) = match made {
        Ok(made) => made,
        Err(error) => {
            let container = pod.containers.remove(id);
            for ticket in container.into_iter().flat_map(|it| it.unwanted) {
                pod.mailbox.answer(ticket, Ok(Answer::Done));
            }
            return Err(error);
        }
    };
    let container = pod.container(id)?;
    container.phase = Phase::Created;
    container.first = Some(Process { pid: made.pid, pidfd: Some(made.pidfd) });
    container.waiting = made.waiting;
    container.copier = Some(copier);
    container.terminal = made.terminal;
    // Without the memory controller there is nothing to be told of.
    container.oom = made.group.as_ref().and_then(|group| group.watch_oom().ok());
    container.group = made.group;
    container.shares_pids = shares_pids;
    let unwanted = std::mem::take(&mut container.unwanted);
    crate::end::claim(pod, made.pid);
    for ticket in unwanted {
        crate::end::delete_made(pod, ticket, id);
    }
    Ok(Answer::Created(Created { pid: made.pid, warnings: made.warnings }))
}

fn start(pod: &mut Pod, ticket: Ticket, id: String) -> Result<()> {
    let container = pod.container(&id)?;
    match container.phase {
        Phase::Created => {}
        Phase::Creating => return Err(Error::new(Kind::Precondition, id, "is being made")),
        Phase::Running | Phase::Paused => {
            return Err(Error::new(Kind::Precondition, id, "was started already"));
        }
        Phase::Stopped => return Err(Error::new(Kind::Precondition, id, "has ended")),
    }
    if container.started_at != 0 {
        return Err(Error::new(Kind::Precondition, id, "is being started"));
    }
    container.started_at = reap::now();
    let (engine, waiting) = (container.engine.clone(), container.waiting.take());
    let job = Box::new(move || {
        let started = engine.start(&id, waiting);
        let apply: Apply = Box::new(move |pod: &mut Pod| {
            // It may have been removed meanwhile, or have ended.
            if let Ok(container) = pod.container(&id) {
                match &started {
                    Ok(()) if container.phase == Phase::Created => {
                        container.phase = Phase::Running;
                    }
                    Ok(()) => {}
                    Err(_) => container.started_at = 0,
                }
            }
            (started.map(|()| Answer::Done), Vec::new())
        });
        apply
    });
    pod.crew.give(Line::Make, ticket, job);
    Ok(())
}

/// Has a worker do something with a container that is there.
fn change(
    pod: &mut Pod,
    ticket: Ticket,
    id: String,
    work: impl FnOnce(&Engine, &str) -> Result<()> + Send + 'static,
) -> Result<Option<Answer>> {
    let engine = pod.container(&id)?.engine.clone();
    let job = Box::new(move || done(work(&engine, &id).map(|()| Answer::Done)));
    pod.crew.give(Line::Change, ticket, job);
    Ok(None)
}

fn freeze(pod: &mut Pod, ticket: Ticket, id: String, into: Phase) -> Result<Option<Answer>> {
    let engine = pod.container(&id)?.engine.clone();
    let job = Box::new(move || {
        let frozen = engine.freeze(&id, into == Phase::Paused);
        let apply: Apply = Box::new(move |pod: &mut Pod| {
            if let Ok(container) = pod.container(&id)
                && container.is_alive()
                && frozen.is_ok()
            {
                container.phase = into;
            }
            (frozen.map(|()| Answer::Done), Vec::new())
        });
        apply
    });
    pod.crew.give(Line::Change, ticket, job);
    Ok(None)
}

fn kill(
    pod: &mut Pod,
    ticket: Ticket,
    id: &str,
    signal: i32,
    whom: Whom,
) -> Result<Option<Answer>> {
    let container = pod.container(id)?;
    if container.phase == Phase::Creating {
        return Err(Error::new(Kind::Precondition, id, "is being made"));
    }
    let ended = |what: &str| Error::new(Kind::Precondition, what, "has ended");
    let all = match whom {
        Whom::Exec(exec_id) => {
            let process = container.execs.get(&exec_id);
            let process = process.ok_or_else(|| {
                Error::new(Kind::NotFound, exec_id.as_str(), format!("{id} has no such process"))
            })?;
            let pidfd = process.as_ref().and_then(|process| process.pidfd.as_ref());
            let pidfd = pidfd.ok_or_else(|| ended(&exec_id))?;
            oci::signals::send(pidfd.as_fd(), signal).map_err(of_runtime)?;
            return Ok(Some(Answer::Done));
        }
        Whom::First => false,
        Whom::All => true,
    };
    let first = container.first.as_ref().and_then(|first| first.pidfd.as_ref());
    match (&container.engine, first) {
        (_, None) if !all => return Err(ended(id)),
        (Engine::BuiltIn { .. }, Some(first)) if !all && signal != KILL => {
            oci::signals::send(first.as_fd(), signal).map_err(of_runtime)?;
            return Ok(Some(Answer::Done));
        }
        _ => {}
    }
    change(pod, ticket, id.to_owned(), move |engine, id| engine.kill(id, signal, all))
}

fn exec(pod: &mut Pod, ticket: Ticket, wanted: Exec, fds: Vec<OwnedFd>) -> Result<()> {
    let container = pod.container(&wanted.id)?;
    if !matches!(container.phase, Phase::Running | Phase::Created) {
        let cause = format!("is {:?}, so no process can be added", container.phase);
        return Err(Error::new(Kind::Precondition, wanted.id, cause.to_lowercase()));
    }
    if container.execs.contains_key(&wanted.exec_id) {
        let cause = format!("{} has a process of this name", wanted.id);
        return Err(Error::new(Kind::AlreadyExists, wanted.exec_id, cause));
    }
    let streams = take_streams(wanted.streams, fds)?;
    container.execs.insert(wanted.exec_id.clone(), None);
    let engine = container.engine.clone();
    let job = Box::new(move || {
        let added = add(&engine, &wanted, streams);
        let apply: Apply = Box::new(move |pod: &mut Pod| match executed(pod, &wanted, added) {
            Ok((made, terminal)) => (Ok(Answer::Executed(made)), terminal.into_iter().collect()),
            Err(error) => (Err(error), Vec::new()),
        });
        apply
    });
    pod.crew.give(Line::Make, ticket, job);
    Ok(())
}

/// In a worker: the process.
fn add(engine: &Engine, wanted: &Exec, streams: Streams) -> Result<Added> {
    let or_null = |fd: Option<OwnedFd>| fd.map_or_else(stdio::null, Ok);
    let (stdin, stdout) = (or_null(streams.stdin)?, or_null(streams.stdout)?);
    let streams = oci::Streams::new(stdin, stdout, or_null(streams.stderr)?).map_err(of_runtime)?;
    engine.exec(&wanted.id, &wanted.process, streams)
}

fn executed(
    pod: &mut Pod,
    wanted: &Exec,
    added: Result<Added>,
) -> Result<(Executed, Option<OwnedFd>)> {
    let Ok(container) = pod.container(&wanted.id) else {
        // Removed meanwhile, and the process with it.
        return added.and(Err(crate::pod::missing(&wanted.id)));
    };
    let added = match added {
        Ok(added) => added,
        Err(error) => {
            container.execs.remove(&wanted.exec_id);
            return Err(error);
        }
    };
    let process = Process { pid: added.pid, pidfd: Some(added.pidfd) };
    container.execs.insert(wanted.exec_id.clone(), Some(process));
    crate::end::claim(pod, added.pid);
    Ok((Executed { pid: added.pid }, added.terminal))
}

fn take_streams(said: shim_protocol::Streams, fds: Vec<OwnedFd>) -> Result<Streams> {
    if said.count() != fds.len() {
        let cause = format!("says {} descriptors, and {} came", said.count(), fds.len());
        return Err(Error::new(Kind::Invalid, "streams", cause));
    }
    let mut fds = fds.into_iter();
    let mut next = |said: bool| if said { fds.next() } else { None };
    Ok(Streams { stdin: next(said.stdin), stdout: next(said.stdout), stderr: next(said.stderr) })
}

fn attach(pod: &mut Pod, ticket: Ticket, wanted: &Attach, fds: Vec<OwnedFd>) -> Result<()> {
    let streams = take_streams(wanted.streams, fds)?;
    order(pod, ticket, &wanted.id, |told| Order::Attach(streams, told))
}

/// Gives a container's copier an order, and has it answer.
fn order(
    pod: &mut Pod,
    ticket: Ticket,
    id: &str,
    order: impl FnOnce(crate::copy::Told) -> Order,
) -> Result<()> {
    let mailbox = pod.mailbox.clone();
    let container = pod.container(id)?;
    let Some(copier) = &container.copier else {
        return Err(Error::new(Kind::Precondition, id, "is being made"));
    };
    copier.order(order(Box::new(move |result| {
        mailbox.answer(ticket, result.map(|()| Answer::Done));
    })));
    Ok(())
}

fn resize(pod: &mut Pod, id: &str, size: Size) -> Result<Answer> {
    let container = pod.container(id)?;
    let Some(terminal) = &container.terminal else {
        return Err(Error::new(Kind::Precondition, id, "has no terminal"));
    };
    let size = rustix::termios::Winsize {
        ws_row: size.height,
        ws_col: size.width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size)
        .map_err(|errno| io(format!("terminal of {id}"), "set its size", errno))?;
    Ok(Answer::Done)
}
