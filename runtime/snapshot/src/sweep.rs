//! Emptying the trash beside whoever put something there: files of a snapshot can be many, and who
//! removes it, often with a lock of its own, waits for one rename only.

use crate::root::Root;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Files of most layers are gone within this time: who removed them finds the space free.
const BRIEFLY: Duration = Duration::from_millis(50);

/// What is still to be emptied, and whether somebody is at it.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    names: Vec<String>,
    working: bool,
}

impl Sweep {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next name; without one, the work ends.
    fn next(&self) -> Option<String> {
        let mut queue = self.lock();
        let next = queue.names.pop();
        if next.is_none() {
            queue.working = false;
            self.changed.notify_all();
        }
        next
    }

    /// Waits until nothing is left to do.
    pub(crate) fn wait(&self) {
        let mut queue = self.lock();
        while queue.working {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Empties names of the trash, beside the caller.
pub(crate) fn begin(root: &Arc<Root>, names: Vec<String>) {
    let mut queue = root.sweep().lock();
    queue.names.extend(names);
    if queue.names.is_empty() || std::mem::replace(&mut queue.working, true) {
        return;
    }
    drop(queue);
    let own = Arc::clone(root);
    let worker = std::thread::Builder::new().name("trash".to_owned());
    if worker.spawn(move || work(&own)).is_err() {
        // No thread to be had: here and now.
        work(root);
    }
}

/// Empties `name` of the trash, and waits for that no longer than for what is small.
pub(crate) fn soon(root: &Arc<Root>, name: String) {
    begin(root, vec![name]);
    let sweep = root.sweep();
    let waited = sweep.changed.wait_timeout_while(sweep.lock(), BRIEFLY, |queue| queue.working);
    drop(waited);
}

fn work(root: &Root) {
    let _ends = Ends(root.sweep());
    while let Some(name) = root.sweep().next() {
        // A failure leaves a leftover, which the next clean-up reports and removes.
        root.empty_trash(&name).ok();
    }
}

/// Should the work panic, nobody waits for its end for ever.
struct Ends<'a>(&'a Sweep);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().working = false;
            self.0.changed.notify_all();
        }
    }
}
