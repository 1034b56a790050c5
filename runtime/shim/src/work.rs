//! What may block: done by short-lived threads, applied by the main one.

use crate::error::{Result, io};
use crate::pod::Pod;
use rustix::fd::OwnedFd;
use shim_protocol::{Answer, Error, Kind};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

/// An answer, and the descriptors that go with it.
pub(crate) type Answered = (Result<Answer>, Vec<OwnedFd>);
/// What is left to do by the main thread when the work is done.
pub(crate) type Apply = Box<dyn FnOnce(&mut Pod) -> Answered + Send>;
/// Work.
pub(crate) type Job = Box<dyn FnOnce() -> Apply + Send>;

/// Most processes that are made at the same time: more would only wait for each other.
const MAKERS: usize = 16;
/// Memory of a worker's stack, used as far as it is touched.
const STACK: usize = 1 << 20;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The connection.
    pub(crate) client: u64,
    /// Its number for the request.
    pub(crate) request: u64,
}

/// Which line a job waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Makes a process: a few at a time.
    Make,
    /// Ends or changes something: never waits for those that make.
    Change,
}

/// What the main thread is told.
pub(crate) enum Note {
    /// A worker's job is done.
    Worked(Line, Ticket, Apply),
    /// Somebody who is no worker is done.
    Done(Ticket, Apply),
    /// Nothing more to copy of a container's output from before its end.
    Drained(String),
}

/// The way to the main thread.
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: Sender<Note>,
    wake: Arc<OwnedFd>,
}

impl Mailbox {
    /// The mailbox, its receiver, and a descriptor that is readable when something is there.
    pub(crate) fn new() -> Result<(Mailbox, Receiver<Note>, Arc<OwnedFd>)> {
        let wake = wake()?;
        let (sender, receiver) = std::sync::mpsc::channel();
        Ok((Mailbox { sender, wake: Arc::clone(&wake) }, receiver, wake))
    }

    pub(crate) fn post(&self, note: Note) {
        // Without a main thread the program ends.
        let _ = self.sender.send(note);
        rouse(&self.wake);
    }

    /// An answer that needs no main thread to be found.
    pub(crate) fn answer(&self, ticket: Ticket, result: Result<Answer>) {
        self.post(Note::Done(ticket, Box::new(|_| (result, Vec::new()))));
    }
}

/// A descriptor that wakes who polls it.
pub(crate) fn wake() -> Result<Arc<OwnedFd>> {
    use rustix::event::{EventfdFlags, eventfd};
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map(Arc::new)
        .map_err(|errno| io("shim", "eventfd", errno))
}

pub(crate) fn rouse(wake: &OwnedFd) {
    // Full means that it is readable already.
    let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
}

pub(crate) fn quiet(wake: &OwnedFd) {
    // Empty is as good.
    let _ = rustix::io::read(wake, &mut [0_u8; 8]);
}

/// The workers.
pub(crate) struct Crew {
    mailbox: Mailbox,
    making: usize,
    changing: usize,
    waiting: VecDeque<(Ticket, Job)>,
}

impl Crew {
    pub(crate) fn new(mailbox: Mailbox) -> Crew {
        Crew { mailbox, making: 0, changing: 0, waiting: VecDeque::new() }
    }

    /// Whether nobody works, so no process is known to a worker alone.
    pub(crate) fn is_idle(&self) -> bool {
        self.making + self.changing == 0
    }

    pub(crate) fn give(&mut self, line: Line, ticket: Ticket, job: Job) {
        if line == Line::Make && self.making >= MAKERS {
            self.waiting.push_back((ticket, job));
            return;
        }
        let mailbox = self.mailbox.clone();
        let thread = std::thread::Builder::new().name("worker".to_owned()).stack_size(STACK);
        let started = thread.spawn(move || {
            let apply = std::panic::catch_unwind(AssertUnwindSafe(job));
            let broken = || Error::new(Kind::Internal, "shim", "a worker broke off");
            let apply = apply.unwrap_or_else(|_| Box::new(move |_| (Err(broken()), Vec::new())));
            // Told before this thread ends: its children then become the main thread's, which must
            // know them by that time.
            mailbox.post(Note::Worked(line, ticket, apply));
        });
        match started {
            Ok(_) if line == Line::Make => self.making += 1,
            Ok(_) => self.changing += 1,
            Err(error) => self.mailbox.answer(ticket, Err(io("worker", "start", error))),
        }
    }

    /// One is done; the next may begin.
    pub(crate) fn finished(&mut self, line: Line) {
        match line {
            Line::Make => self.making -= 1,
            Line::Change => self.changing -= 1,
        }
        if self.making < MAKERS
            && let Some((ticket, job)) = self.waiting.pop_front()
        {
            self.give(Line::Make, ticket, job);
        }
    }
}
