//! Namespaces of the lab. The only file of the tests that makes or enters one.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A network namespace bound at a path.
#[derive(Debug)]
pub struct Ns {
    name: String,
    path: PathBuf,
    fd: Mutex<Option<Arc<OwnedFd>>>,
}

impl Ns {
    /// Makes a namespace and binds it at `path`. `lo` stays down, as a runtime leaves it.
    #[allow(clippy::disallowed_methods, reason = "the lab makes the namespaces of the tests")]
    pub(crate) fn make(name: &str, path: &Path) -> Ns {
        File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        thread::scope(|s| {
            s.spawn(|| {
                nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
                let own = Some("/proc/thread-self/ns/net");
                mount(own, path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                    .expect("bind a network namespace");
            });
        });
        let fd = File::open(path).expect("open a network namespace").into();
        let fd = Mutex::new(Some(Arc::new(fd)));
        Ns { name: name.to_owned(), path: path.to_owned(), fd }
    }

    /// Its name within the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is bound: what `CNI_NETNS` gets.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn fd(&self) -> Arc<OwnedFd> {
        let held = self.fd.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone().unwrap_or_else(|| panic!("namespace {} is deleted", self.name))
    }

    /// Runs `f` inside, on a thread that ends there. Sockets and processes that it makes stay
    /// inside.
    #[allow(clippy::disallowed_methods, reason = "the lab enters the namespaces of the tests")]
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let fd = self.fd();
        joined(thread::scope(|s| {
            named(s, || {
                nix::sched::setns(fd.as_fd(), CloneFlags::CLONE_NEWNET).expect("enter");
                f()
            })
            .join()
        }))
    }

    /// As [`Ns::run`], in a private mount namespace in which each `source` lies over its
    /// `target`. Both are directories; `/sys` is the namespace's own.
    #[allow(clippy::disallowed_methods, reason = "the lab enters the namespaces of the tests")]
    pub fn run_private<T: Send>(
        &self,
        over: &[(PathBuf, PathBuf)],
        f: impl FnOnce() -> T + Send,
    ) -> T {
        let fd = self.fd();
        joined(thread::scope(|s| {
            named(s, || {
                nix::sched::setns(fd.as_fd(), CloneFlags::CLONE_NEWNET).expect("enter");
                nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("private mounts");
                private_mounts(over);
                f()
            })
            .join()
        }))
    }

    /// A detached thread inside; for servers that stop by a signal of their own.
    #[allow(clippy::disallowed_methods, reason = "the lab enters the namespaces of the tests")]
    pub(crate) fn thread<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let fd = self.fd();
        thread::spawn(move || {
            nix::sched::setns(fd.as_fd(), CloneFlags::CLONE_NEWNET).expect("enter");
            drop(fd);
            f()
        })
    }

    /// Runs a program inside and waits for it.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn exec(&self, program: &str, args: &[&str]) -> Output {
        self.run(|| {
            Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .output()
                .unwrap_or_else(|e| panic!("{program}: {e}"))
        })
    }

    /// Runs a program inside and returns what it printed.
    ///
    /// # Panics
    /// When it fails, with its stderr.
    pub fn sh(&self, program: &str, args: &[&str]) -> String {
        let done = self.exec(program, args);
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{}: {program} {}: {error}", self.name, args.join(" "));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// `ip` with the words of `line`.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, line: &str) -> String {
        self.sh("ip", &line.split_whitespace().collect::<Vec<_>>())
    }

    /// `ip -j -d` with the words of `line`, decoded.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip_json(&self, line: &str) -> serde_json::Value {
        let words: Vec<_> = ["-j", "-d"].into_iter().chain(line.split_whitespace()).collect();
        let text = self.sh("ip", &words);
        let text = if text.trim().is_empty() { "[]" } else { text.as_str() };
        serde_json::from_str(text).unwrap_or_else(|e| panic!("ip {line}: {e}: {text}"))
    }

    /// Whether a link of this name exists.
    pub fn has_link(&self, link: &str) -> bool {
        self.exec("ip", &["link", "show", "dev", link]).status.success()
    }

    /// The addresses of a link with prefix length, without link-local ones.
    pub fn addresses(&self, link: &str) -> Vec<String> {
        let list = self.ip_json(&format!("addr show dev {link}"));
        let infos = list[0]["addr_info"].as_array().cloned().unwrap_or_default();
        infos
            .iter()
            .filter(|a| a["scope"] != "link")
            .map(|a| format!("{}/{}", a["local"].as_str().unwrap_or_default(), a["prefixlen"]))
            .collect()
    }

    /// Reads a sysctl by its path below `/proc/sys`.
    ///
    /// # Panics
    /// When there is none.
    pub fn sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/{key}");
        let text = self.run(|| std::fs::read_to_string(&path));
        text.unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
    }

    /// Writes a sysctl by its path below `/proc/sys`.
    ///
    /// # Panics
    /// When that fails.
    pub fn set_sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.run(|| std::fs::write(&path, value)).unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// Ends the namespace while its owner lives on, as a reboot or a killed pause container does.
    /// The path is gone afterwards; the kernel may take a moment to take the links.
    pub fn delete(&self) {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner).take();
        release(&self.path);
    }
}

impl Drop for Ns {
    fn drop(&mut self) {
        self.delete();
    }
}

/// Unbinds and removes a namespace's file. Missing is fine: it may be deleted already.
pub(crate) fn release(path: &Path) {
    // Errors are those of a path that is no mount point or is gone: then there is nothing to do.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    let _ = std::fs::remove_file(path);
}

/// A scoped thread with the caller's name, so that messages name the test.
fn named<'s, T: Send + 's>(
    scope: &'s thread::Scope<'s, '_>,
    f: impl FnOnce() -> T + Send + 's,
) -> thread::ScopedJoinHandle<'s, T> {
    let name = thread::current().name().unwrap_or("lab").to_owned();
    thread::Builder::new().name(name).spawn_scoped(scope, f).expect("start a thread")
}

fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn private_mounts(over: &[(PathBuf, PathBuf)]) {
    // A slave still sees the lab unmount its namespaces; it shows the machine nothing.
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>).expect("private mounts");
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)
        .expect("mount /sys");
    for (source, target) in over {
        mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap_or_else(
            |e| panic!("mount {} over {}: {e}", source.display(), target.display()),
        );
    }
}
