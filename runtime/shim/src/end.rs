//! The end of processes, of containers, of the shim.

use crate::container::Container;
use crate::copy::Order;
use crate::engine::{Engine, name};
use crate::error::Result;
use crate::exits;
use crate::pod::Pod;
use crate::reap::{self, Status};
use crate::request::KILL;
use crate::work::{Answered, Apply, Line, Note, Ticket};
use rustix::fd::AsFd;
use shim_protocol::{Answer, Error, Event, Exit, Kind, Phase};
use std::io::Write;
use std::time::{Duration, Instant};

/// How long the end of a container is kept back for its output to be copied.
const COPYING: Duration = Duration::from_secs(3);
/// How long a process that was killed may take to end.
const ENDING: Duration = Duration::from_secs(2);
/// Nobody waits for this.
const NOBODY: Ticket = Ticket { client: 0, request: 0 };

/// Whose end it is.
enum Whose {
    Init,
    First(String),
    Exec(String, String),
}

fn whose(pod: &Pod, pid: i32) -> Option<Whose> {
    if pod.init.as_ref().is_some_and(|init| init.pid == pid && init.pidfd.is_some()) {
        return Some(Whose::Init);
    }
    pod.containers.iter().find_map(|(id, container)| {
        let is =
            |process: &crate::container::Process| process.pid == pid && process.pidfd.is_some();
        if container.first.as_ref().is_some_and(is) {
            return Some(Whose::First(id.clone()));
        }
        let (exec, _) =
            container.execs.iter().find(|(_, process)| process.as_ref().is_some_and(is))?;
        Some(Whose::Exec(id.clone(), exec.clone()))
    })
}

/// Takes the exit statuses of all children that are the main thread's: orphans of the pod, and
/// processes that workers have made.
pub(crate) fn take_orphans(pod: &mut Pod) {
    while let Some((pid, status)) = reap::take_any() {
        match whose(pod, pid) {
            Some(whose) => ended(pod, whose, pid, status),
            // A worker may be about to say whose it is.
            None if !pod.crew.is_idle() => drop(pod.strays.insert(pid, status)),
            None => {}
        }
    }
}

/// The handle of a process says that it has ended.
pub(crate) fn process_ended(pod: &mut Pod, pid: i32) {
    let Some(whose) = whose(pod, pid) else { return };
    let status = {
        let process = match &whose {
            Whose::Init => pod.init.as_ref(),
            Whose::First(id) => pod.containers.get(id).and_then(|it| it.first.as_ref()),
            Whose::Exec(id, exec) => {
                pod.containers.get(id).and_then(|it| it.execs.get(exec)?.as_ref())
            }
        };
        process.and_then(|process| process.pidfd.as_ref()).and_then(|fd| reap::take(fd.as_fd()))
    };
    let stray = pod.strays.remove(&pid);
    // One that is no child of ours, as a runtime that hides its processes may have it, ends with
    // nobody knowing how.
    let unknown = Status { code: 255, signal: None, at: reap::now() };
    ended(pod, whose, pid, status.or(stray).unwrap_or(unknown));
}

/// A worker has said whose process this is; it may have ended before.
pub(crate) fn claim(pod: &mut Pod, pid: i32) {
    if let Some(status) = pod.strays.remove(&pid)
        && let Some(whose) = whose(pod, pid)
    {
        ended(pod, whose, pid, status);
    }
}

fn ended(pod: &mut Pod, whose: Whose, pid: i32, status: Status) {
    match whose {
        Whose::Init => {
            if let Some(init) = &mut pod.init {
                init.pidfd = None;
            }
            pod.events.push(Event::InitExited { code: status.code });
        }
        Whose::First(id) => first_ended(pod, &id, pid, status),
        Whose::Exec(id, exec_id) => {
            if let Some(container) = pod.containers.get_mut(&id) {
                container.execs.remove(&exec_id);
            }
            let Status { code, signal, at } = status;
            let exec_id = Some(exec_id);
            pod.events.push(Event::Exited(Exit { id, exec_id, pid, code, signal, oom: false, at }));
        }
    }
}

fn first_ended(pod: &mut Pod, id: &str, pid: i32, status: Status) {
    let mailbox = pod.mailbox.clone();
    let Some(container) = pod.containers.get_mut(id) else { return };
    look_for_oom(container, id, &mut pod.events);
    let Status { code, signal, at } = status;
    let (id, oom) = (id.to_owned(), container.had_oom);
    let exit = Exit { id: id.clone(), exec_id: None, pid, code, signal, oom, at };
    if let Err(error) = exits::write(&pod.dir, &exit) {
        // It is told all the same; only a shim that is killed now would leave no record.
        complain(&error);
    }
    container.phase = Phase::Stopped;
    if let Some(first) = &mut container.first {
        first.pidfd = None;
    }
    container.waiting = None;
    container.terminal = None;
    container.oom = None;
    container.ended = Some((exit, Instant::now() + COPYING));
    if let Some(copier) = &container.copier {
        let id = id.clone();
        copier.order(Order::Drain(Box::new(move |_| mailbox.post(Note::Drained(id)))));
    }
    if container.shares_pids {
        end_the_rest(pod, &id);
    }
}

/// Processes of a container without a PID namespace of its own are not ended by the kernel.
fn end_the_rest(pod: &mut Pod, id: &str) {
    let Some(container) = pod.containers.get(id) else { return };
    let (engine, id) = (container.engine.clone(), id.to_owned());
    let job = Box::new(move || {
        // Deleting the container ends what is left even so.
        let killed = engine.kill(&id, KILL, true).map(|()| Answer::Done);
        let apply: Apply = Box::new(move |_| (killed, Vec::new()));
        apply
    });
    pod.crew.give(Line::Change, NOBODY, job);
}

/// Asks whether the kernel killed for lack of memory, and tells it once.
pub(crate) fn look_for_oom(container: &mut Container, id: &str, events: &mut Vec<Event>) {
    let told = container.oom.as_ref().map(|watch| watch.take());
    if matches!(told, Some(Ok(None) | Err(_))) {
        // The group is gone.
        container.oom = None;
    }
    let counted = container.group.as_ref().and_then(|group| group.oom_kills().ok().flatten());
    let now = matches!(told, Some(Ok(Some(true)))) || counted.is_some_and(|count| count > 0);
    if now && !container.had_oom {
        container.had_oom = true;
        events.push(Event::Oom { id: id.to_owned() });
    }
}

/// All is copied that a container wrote before its end.
pub(crate) fn drained(pod: &mut Pod, id: &str) {
    let Some(container) = pod.containers.get_mut(id) else { return };
    if let Some((exit, _)) = container.ended.take() {
        container.exit = Some(exit.clone());
        pod.events.push(Event::Exited(exit));
    }
}

/// Tells the ends that were kept back for too long; the value is when to look again.
pub(crate) fn tell_late(pod: &mut Pod) -> Option<Instant> {
    let now = Instant::now();
    let waits = |container: &Container| container.ended.as_ref().map(|(_, until)| *until);
    let late: Vec<String> = pod
        .containers
        .iter()
        .filter(|(_, container)| waits(container).is_some_and(|until| until <= now))
        .map(|(id, _)| id.clone())
        .collect();
    for id in late {
        drained(pod, &id);
    }
    pod.containers.values().filter_map(waits).min()
}

pub(crate) fn delete(
    pod: &mut Pod,
    ticket: Ticket,
    id: String,
    force: bool,
) -> Result<Option<Answer>> {
    name(&id)?;
    let (engine, first) = match pod.containers.get_mut(&id) {
        None => {
            exits::remove(&pod.dir, &id)?;
            return Ok(Some(Answer::Done));
        }
        Some(container) if container.phase == Phase::Creating && force => {
            container.unwanted.push(ticket);
            return Ok(None);
        }
        Some(container) if container.phase == Phase::Creating => {
            return Err(Error::new(Kind::Precondition, id, "is being made"));
        }
        Some(container) if container.is_alive() && !force => {
            let cause = "runs, or waits to be started";
            return Err(Error::new(Kind::Precondition, id, cause).advise("kill it first"));
        }
        Some(container) => {
            container.waiting = None;
            let first = container.first.as_ref().and_then(|first| first.pidfd.as_ref());
            (container.engine.clone(), first.and_then(|first| first.try_clone().ok()))
        }
    };
    let job = Box::new(move || {
        let deleted = engine.delete(&id, force);
        // A runtime may be done before what it killed has ended, and how it ended is to be told.
        if let (Ok(()), Some(first)) = (&deleted, &first) {
            reap::has_ended(first, ENDING);
        }
        let apply: Apply = Box::new(move |pod: &mut Pod| deleted_container(pod, &id, deleted));
        apply
    });
    pod.crew.give(Line::Change, ticket, job);
    Ok(None)
}

/// Removes a container that became unwanted while it was made.
pub(crate) fn delete_made(pod: &mut Pod, ticket: Ticket, id: &str) {
    match delete(pod, ticket, id.to_owned(), true) {
        Ok(None) => {}
        Ok(Some(answer)) => pod.mailbox.answer(ticket, Ok(answer)),
        Err(error) => pod.mailbox.answer(ticket, Err(error)),
    }
}

fn deleted_container(pod: &mut Pod, id: &str, deleted: Result<()>) -> Answered {
    if let Err(error) = deleted {
        return (Err(error), Vec::new());
    }
    // Its end is told before it is forgotten.
    let running: Vec<i32> = pod.containers.get(id).map_or(Vec::new(), |container| {
        let execs = container.execs.values().flatten();
        let processes = container.first.iter().chain(execs);
        processes.filter(|it| it.pidfd.is_some()).map(|it| it.pid).collect()
    });
    for pid in running {
        process_ended(pod, pid);
    }
    drained(pod, id);
    pod.containers.remove(id);
    (exits::remove(&pod.dir, id).map(|()| Answer::Done), Vec::new())
}

pub(crate) fn shutdown(pod: &mut Pod, ticket: Ticket, force: bool) -> Result<Option<Answer>> {
    let alive = pod.containers.iter().find(|(_, container)| container.is_alive());
    if let Some((id, _)) = alive.filter(|_| !force) {
        return Err(Error::new(Kind::Precondition, id.as_str(), "runs").advise("stop it first"));
    }
    let all: Vec<(String, Engine)> = pod
        .containers
        .iter_mut()
        .map(|(id, container)| {
            container.waiting = None;
            (id.clone(), container.engine.clone())
        })
        .collect();
    let init = crate::init::runtime(&pod.dir);
    let job = Box::new(move || {
        let deleted: Vec<(String, Result<()>)> = all
            .into_iter()
            .map(|(id, engine)| {
                let deleted = engine.delete(&id, true);
                (id, deleted)
            })
            .collect();
        let ended = crate::init::end(&init);
        let apply: Apply = Box::new(move |pod: &mut Pod| {
            let deleted = deleted.into_iter().map(|(id, it)| deleted_container(pod, &id, it).0);
            // All are tried, and the first failure is told.
            let results: Vec<Result<Answer>> = deleted.collect();
            let result = results.into_iter().collect::<Result<Vec<Answer>>>().and(ended);
            pod.leaving = result.is_ok();
            (result.map(|()| Answer::Done), Vec::new())
        });
        apply
    });
    pod.crew.give(Line::Change, ticket, job);
    Ok(None)
}

/// A line in the shim's own log.
pub(crate) fn complain(error: &Error) {
    // Nobody else is left to be told.
    let _ = writeln!(std::io::stderr(), "podloom-shim: {error}");
}
