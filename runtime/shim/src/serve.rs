//! The main thread: waits, and does what there is to do.

use crate::arguments::Arguments;
use crate::clients::Clients;
use crate::end;
use crate::error::{Result, io, of_runtime};
use crate::pod::Pod;
use crate::work::{Mailbox, Note};
use crate::{memory, work};
use oci::signals::Watch;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use shim_protocol::{EXITS, SOCKET};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long nothing happens before memory is given back.
const IDLE: Duration = Duration::from_millis(300);

/// How long to wait after what may go by.
const TROUBLE: Duration = Duration::from_millis(50);

/// What a descriptor of the poll is for.
enum Source {
    Listener,
    Signals,
    Wake,
    Client(u64),
    Process(i32),
    Oom(String),
}

/// Everything that the main thread waits for.
struct Shim {
    pod: Pod,
    clients: Clients,
    listener: OwnedFd,
    signals: Watch,
    notes: Receiver<Note>,
    wake: Arc<OwnedFd>,
}

/// A time as poll(2) takes it.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Runs the shim until it is told to end.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let listener = settle(&arguments)?;
    // Before there is another thread, so that no signal comes to one.
    let signals = Watch::new().map_err(of_runtime)?;
    let (mailbox, notes, wake) = Mailbox::new()?;
    let pod = Pod::new(arguments, mailbox);
    let mut shim = Shim { pod, clients: Clients::default(), listener, signals, notes, wake };
    let mut idle = false;
    loop {
        let ready = shim.wait(idle);
        if ready.is_empty() && !idle {
            memory::release();
            idle = true;
            continue;
        }
        idle = false;
        shim.work(ready);
        if shim.pod.leaving && shim.clients.is_quiet() {
            // A daemon that finds none there has the same of it as one that finds it dead.
            let _ = std::fs::remove_file(shim.pod.dir.join(SOCKET));
            return Ok(());
        }
    }
}

/// Makes this process what a shim is: a session of its own, parent of orphans, in its control group.
fn settle(arguments: &Arguments) -> Result<OwnedFd> {
    // The socket came as standard input.
    let stdin = rustix::stdio::stdin();
    let listener = rustix::io::fcntl_dupfd_cloexec(stdin, 3)
        .map_err(|errno| io("shim's socket", "dup", errno))?;
    crate::stdio::unblock(&listener)?;
    let null = crate::stdio::null()?;
    rustix::stdio::dup2_stdin(&null).map_err(|errno| io("standard input", "dup", errno))?;
    // What containers make is not to depend on how the daemon was started.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // One that is started by hand may lead a session already.
    let _ = rustix::process::setsid();
    rustix::thread::set_name(c"podloom-shim").map_err(|errno| io("shim", "set its name", errno))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| io("shim", "become a subreaper", errno))?;
    if let Some(group) = &arguments.cgroup {
        write(&group.join("cgroup.procs"), "0")?;
    }
    if let Some(score) = arguments.oom_score_adj {
        write(Path::new("/proc/self/oom_score_adj"), &score.to_string())?;
    }
    let exits = arguments.dir.join(EXITS);
    std::fs::create_dir_all(&exits)
        .map_err(|error| io(exits.display().to_string(), "make", error))?;
    Ok(listener)
}

/// Something that is short for a moment: told, and tried again a little later.
fn trouble(error: &shim_protocol::Error) {
    end::complain(error);
    std::thread::sleep(TROUBLE);
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| io(path.display().to_string(), "write", error))
}

impl Shim {
    /// Waits until there is something to do, and tells what; nothing when the time came.
    fn wait(&mut self, idle: bool) -> Vec<Source> {
        let late = end::tell_late(&mut self.pod);
        self.clients.tell(std::mem::take(&mut self.pod.events));
        self.clients.sweep();
        let until = late.map(|late| late.saturating_duration_since(Instant::now()));
        let timeout = until.or((!idle).then_some(IDLE)).map(timespec);
        let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) = self.sources().into_iter().unzip();
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Out of memory, for a moment. The containers need this program: it never gives up.
            Err(errno) => {
                trouble(&io("shim", "poll", errno));
                return Vec::new();
            }
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        sources.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(it, _)| it).collect()
    }

    fn sources(&self) -> Vec<(Source, PollFd<'_>)> {
        let input = |source, fd| (source, PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut all = vec![
            input(Source::Listener, self.listener.as_fd()),
            input(Source::Signals, self.signals.as_fd()),
            input(Source::Wake, self.wake.as_fd()),
        ];
        for (number, socket, flags) in self.clients.interests() {
            all.push((Source::Client(number), PollFd::new(socket, flags)));
        }
        let containers = &self.pod.containers;
        for container in containers.values() {
            let execs = container.execs.values().flatten();
            for process in container.first.iter().chain(execs) {
                let Some(pidfd) = &process.pidfd else { continue };
                all.push(input(Source::Process(process.pid), pidfd.as_fd()));
            }
        }
        if let Some((pid, pidfd)) = self.pod.init.as_ref().map(|it| (it.pid, &it.pidfd))
            && let Some(pidfd) = pidfd
        {
            all.push(input(Source::Process(pid), pidfd.as_fd()));
        }
        for (id, container) in containers {
            let Some(watch) = &container.oom else { continue };
            let fd = PollFd::from_borrowed_fd(watch.as_fd(), watch.interest());
            all.push((Source::Oom(id.clone()), fd));
        }
        all
    }

    fn work(&mut self, ready: Vec<Source>) {
        let mut children = false;
        // First of all, whose the processes are that may have ended.
        self.read_notes();
        for source in ready {
            match source {
                Source::Listener => {
                    if let Err(error) = self.clients.accept(&self.listener) {
                        trouble(&error);
                    }
                }
                Source::Signals => {
                    // Those that cannot be read are no reason to leave the containers alone, nor are
                    // those that would end other programs.
                    while let Ok(Some(signal)) = self.signals.next() {
                        children |= signal == oci::signals::CHILD;
                    }
                }
                Source::Wake => work::quiet(&self.wake),
                Source::Client(number) => self.clients.serve(number, &mut self.pod),
                Source::Process(pid) => end::process_ended(&mut self.pod, pid),
                Source::Oom(id) => {
                    let pod = &mut self.pod;
                    if let Some(container) = pod.containers.get_mut(&id) {
                        end::look_for_oom(container, &id, &mut pod.events);
                    }
                }
            }
        }
        self.read_notes();
        if children || self.pod.crew.is_idle() {
            // A worker's last child came to this thread without a signal.
            end::take_orphans(&mut self.pod);
        }
        if self.pod.crew.is_idle() {
            // Nobody is left to say whose they were.
            self.pod.strays.clear();
        }
    }

    fn read_notes(&mut self) {
        while let Ok(note) = self.notes.try_recv() {
            let (line, ticket, apply) = match note {
                Note::Worked(line, ticket, apply) => (Some(line), ticket, apply),
                Note::Done(ticket, apply) => (None, ticket, apply),
                Note::Drained(id) => {
                    end::drained(&mut self.pod, &id);
                    continue;
                }
            };
            let answered = apply(&mut self.pod);
            if let Some(line) = line {
                self.pod.crew.finished(line);
            }
            self.clients.answer(ticket, answered);
            // What happened to it comes after the answer that tells of it.
            self.clients.tell(std::mem::take(&mut self.pod.events));
        }
    }
}
