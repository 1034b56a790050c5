//! Signals, and the end of a container.

use crate::container::Container;
use crate::plan::Plan;
use crate::state::Dir;
use crate::{ContainerId, Error, Kind, Result, Runtime, hook, pid, sys};
use runtime_spec::{Spec, Status};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long processes may take to end once they are killed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl Container {
    /// Sends a signal, by number, to the first process; 0 only tells whether it is there. `SIGKILL`
    /// ends all processes.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL && !self.record.cgroup.is_none() && self.outlives_first() {
            return Ok(self.group.kill(PATIENCE)?);
        }
        match self.status() {
            Status::Stopped | Status::Creating => Err(self.not_running()),
            _ => self.kill_init(signal),
        }
    }

    /// Whether processes are there that the end of the first one does not end: a PID namespace of
    /// the container's own would end them.
    fn outlives_first(&self) -> bool {
        !self.brief().pids && self.status() != Status::Creating && self.shares_pids()
    }

    fn not_running(&self) -> Error {
        Error::new(Kind::State, self.id(), "container not running")
    }

    pub(crate) fn kill_init(&self, signal: i32) -> Result<()> {
        let Some(handle) = pid::open(self.record.pid, self.record.start_time)? else {
            return Err(self.not_running());
        };
        match sys::send_signal(handle.as_fd(), signal) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Err(self.not_running()),
            Err(errno) => return Err(Error::errno(self.id(), "signal", errno)),
        }
        // A v1 freezer holds even what is killed.
        if signal == libc::SIGKILL && self.group.is_frozen().unwrap_or(false) {
            self.group.thaw(PATIENCE)?;
        }
        Ok(())
    }

    /// Sends a signal to all processes, those that outlived the first one too.
    ///
    /// # Errors
    /// The group cannot be read.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        if signal == 0 {
            return Ok(());
        }
        if self.record.cgroup.is_none() {
            return self.kill(signal);
        }
        self.group.signal(signal)?;
        Ok(())
    }

    /// Freezes all processes.
    ///
    /// # Errors
    /// It is not running, or does not stop in time.
    pub fn pause(&self) -> Result<()> {
        match self.status() {
            Status::Running | Status::Created => Ok(self.group.freeze(PATIENCE)?),
            other => Err(self.not_in(other, "pause")),
        }
    }

    /// Lets all processes run again.
    ///
    /// # Errors
    /// It is not paused.
    pub fn resume(&self) -> Result<()> {
        match self.status() {
            Status::Paused => Ok(self.group.thaw(PATIENCE)?),
            other => Err(self.not_in(other, "resume")),
        }
    }
}

impl Runtime {
    /// Removes a container and all that belongs to it, half made or damaged ones too. `force` kills
    /// one that runs, and is content when there is none.
    ///
    /// # Errors
    /// There is none, it runs, or something of it does not go away.
    pub fn delete(&self, id: &ContainerId, force: bool) -> Result<()> {
        self.delete_telling(id, force, &mut |_| ())
    }

    /// The same, and tells of `poststop` hooks that failed: the container is removed even so
    /// (runtime.md, Lifecycle).
    ///
    /// # Errors
    /// As [`Runtime::delete`].
    pub fn delete_telling(
        &self,
        id: &ContainerId,
        force: bool,
        tell: &mut dyn FnMut(Error),
    ) -> Result<()> {
        let dir = match Dir::open(&self.root, id) {
            Err(error) if error.kind == Kind::NotFound => {
                return match Dir::open_left(&self.root, id) {
                    Err(_) if force => Ok(()),
                    Err(_) => Err(error),
                    Ok(left) => finish(id, left, tell),
                };
            }
            other => other?,
        };
        if !take(id, &dir, force)? {
            return if force { Ok(()) } else { Err(crate::state::missing(id)) };
        }
        let record = dir.load()?;
        let Some(mut record) = record else {
            return self.delete_half_made(id, dir, force);
        };
        if record.cgroup.is_none()
            && let Some(paths) = crate::group::unrecorded_unit(self, id, &dir, &record)?
        {
            record.cgroup = paths;
        }
        let group = cgroup::Cgroup::load(record.cgroup.clone());
        let container = Container::new(dir, record, group);
        match container.status() {
            Status::Stopped => {}
            Status::Created | Status::Creating if container.is_abandoned() => {}
            _ if force => {}
            Status::Created => {}
            other => {
                let cause =
                    format!("cannot delete container that is not stopped: it is {}", other.name());
                return Err(Error::new(Kind::State, id.as_str(), cause));
            }
        }
        container.end()?;
        container.remove(tell)
    }

    /// One that was cut short before its record was written: its group follows from its
    /// configuration.
    fn delete_half_made(&self, id: &ContainerId, dir: Dir, force: bool) -> Result<()> {
        if dir.is_locked() && !dir.lock_within(Duration::ZERO)? && !force {
            return Err(Error::new(Kind::State, id.as_str(), "is being made"));
        }
        let spec = dir.read(crate::state::CONFIG).ok();
        let spec = spec.and_then(|text| Spec::from_json(&text).ok());
        match &spec {
            // The record was there, so the group, if it exists, is this container's.
            Some(spec) if dir.has(crate::state::RECORD) => {
                if let Some(group) = crate::group::of_damaged(self, spec)? {
                    group.kill(PATIENCE)?;
                    group.destroy(PATIENCE)?;
                }
            }
            Some(spec) => crate::group::remove_unrecorded(self, id, spec)?,
            None => {}
        }
        dir.remove()
    }
}

impl Container {
    /// Made, or being made, by a program that is gone.
    fn is_abandoned(&self) -> bool {
        self.record.pid == 0
    }

    /// Ends all processes.
    fn end(&self) -> Result<()> {
        if let Some(handle) = pid::open(self.record.pid, self.record.start_time)? {
            match sys::send_signal(handle.as_fd(), libc::SIGKILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::errno(self.id(), "kill", errno)),
            }
            if !self.record.cgroup.is_none() {
                self.group.kill(PATIENCE)?;
            }
            let ended = hook::wait_until(handle.as_fd(), Some(Instant::now() + PATIENCE));
            if !ended.map_err(|errno| Error::errno(self.id(), "wait", errno))? {
                let cause = "its first process does not end though it was killed";
                return Err(Error::new(Kind::Timeout, self.id(), cause));
            }
        } else if !self.record.cgroup.is_none() && self.shares_pids() {
            // Without a PID namespace of its own, processes outlive the first one.
            self.group.kill(PATIENCE)?;
        }
        Ok(())
    }

    fn shares_pids(&self) -> bool {
        !self.group.pids().is_ok_and(|pids| pids.is_empty())
    }

    /// Removes the group and the directory, then runs `poststop` hooks; their failures are only
    /// told. Killed meanwhile, it leaves them to the next command that deletes this name.
    fn remove(mut self, tell: &mut dyn FnMut(Error)) -> Result<()> {
        let hooks = self.brief().poststop;
        if !self.record.cgroup.is_none() || self.record.cgroup.unit.is_some() {
            self.group.destroy(PATIENCE)?;
        }
        if let Some(cover) = self.record.cover {
            rootfs::uncover(&self.record.rootfs, cover)?;
        }
        let groups = [&self.record.monitor, &self.record.rdt];
        groups.into_iter().flatten().try_for_each(|group| crate::rdt::remove(group))?;
        if !hooks {
            return self.dir.remove();
        }
        while !self.dir.leave()? {
            let (root, id) = (self.dir.path.parent(), ContainerId::new(self.id())?);
            let earlier = Dir::open_left(root.unwrap_or(Path::new("/")), &id)?;
            finish(&id, earlier, tell)?;
        }
        self.run_poststop(tell)?;
        self.dir.remove()
    }

    fn run_poststop(&self, tell: &mut dyn FnMut(Error)) -> Result<()> {
        let mut state = self.state();
        state.status = Status::Stopped;
        state.pid = None;
        match Plan::new(&self.spec()?) {
            Ok(plan) => hook::run_each("poststop", &plan.hooks.poststop, &state, tell),
            Err(error) => {
                tell(error.within("hooks.poststop"));
                Ok(())
            }
        }
    }
}

/// Waits for other commands that work on a container; false when it is gone by then.
fn take(id: &ContainerId, dir: &Dir, force: bool) -> Result<bool> {
    let locked = dir.lock_within(if force { Duration::from_millis(500) } else { PATIENCE })?;
    if !locked && !force {
        return Err(Error::new(Kind::State, id.as_str(), "another command works on it"));
    }
    Ok(dir.is_current())
}

/// Runs the hooks of a container that was removed before they had run, unless another command does.
fn finish(id: &ContainerId, dir: Dir, tell: &mut dyn FnMut(Error)) -> Result<()> {
    if !take(id, &dir, false)? {
        return Ok(());
    }
    let Some(record) = dir.load()? else { return dir.remove() };
    let container = Container::new(dir, record, cgroup::Cgroup::load(cgroup::Paths::default()));
    container.run_poststop(tell)?;
    container.dir.remove()
}
