//! The namespaces of the pod: made, pinned, given parameters.

use crate::container::Process;
use crate::error::{Result, io, of_runtime};
use crate::init;
use crate::pod::{Making, Pod};
use crate::work::{Apply, Line, Ticket};
use oci::NewNamespaces;
use runtime_spec::NamespaceKind;
use rustix::mount::UnmountFlags;
use shim_protocol::{
    Answer, Error, IdMapping, Kind, MakeNamespaces, NAMESPACES, Namespace, Namespaces,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each kind, as the runtime and the protocol have it, and the name of its pin.
const KINDS: [(NamespaceKind, Namespace, &str); 5] = [
    (NamespaceKind::Network, Namespace::Net, "net"),
    (NamespaceKind::Ipc, Namespace::Ipc, "ipc"),
    (NamespaceKind::Uts, Namespace::Uts, "uts"),
    (NamespaceKind::Pid, Namespace::Pid, "pid"),
    (NamespaceKind::User, Namespace::User, "user"),
];

fn row(kind: NamespaceKind) -> Option<(Namespace, &'static str)> {
    KINDS.iter().find(|(known, ..)| *known == kind).map(|(_, space, name)| (*space, *name))
}

pub(crate) fn make(pod: &mut Pod, ticket: Ticket, wanted: MakeNamespaces) -> Result<()> {
    match pod.namespaces {
        Making::Absent => pod.namespaces = Making::Begun,
        Making::Begun | Making::Made(_) => {
            return Err(Error::new(Kind::AlreadyExists, "namespaces", "the pod has them already"));
        }
    }
    let dir = pod.dir.clone();
    let job = Box::new(move || {
        let made = build(&dir, &wanted);
        let apply: Apply = Box::new(move |pod: &mut Pod| (keep(pod, made), Vec::new()));
        apply
    });
    pod.crew.give(Line::Make, ticket, job);
    Ok(())
}

fn keep(pod: &mut Pod, made: Result<(Namespaces, Option<Process>)>) -> Result<Answer> {
    match made {
        Ok((made, init)) => {
            pod.namespaces = Making::Made(made.clone());
            let pid = init.as_ref().map(|init| init.pid);
            pod.init = init;
            if let Some(pid) = pid {
                crate::end::claim(pod, pid);
            }
            Ok(Answer::Namespaces(made))
        }
        Err(error) => {
            pod.namespaces = Making::Absent;
            Err(error)
        }
    }
}

/// Pins that are taken away again unless they are kept.
#[derive(Default)]
struct Pins(BTreeMap<Namespace, PathBuf>);

impl Drop for Pins {
    fn drop(&mut self) {
        for path in self.0.values() {
            // The failure that led here is what is reported.
            let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Pins {
    fn add(&mut self, space: Namespace, file: &Path, path: PathBuf) -> Result<()> {
        let shown = path.display().to_string();
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|error| io(&shown, "make its folder", error))?;
        }
        match std::fs::File::options().write(true).create_new(true).open(&path) {
            // What a shim left that was killed.
            Err(error)
                if error.kind() == std::io::ErrorKind::AlreadyExists && !is_namespace(&path) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::new(Kind::AlreadyExists, shown, "a namespace is pinned there"));
            }
            other => drop(other.map_err(|error| io(&shown, "make", error))?),
        }
        self.0.insert(space, path.clone());
        rustix::mount::mount_bind(file, &path).map_err(|errno| io(shown, "pin a namespace", errno))
    }

    fn paths(&self) -> Vec<(NamespaceKind, &Path)> {
        let kind = |space| KINDS.iter().find(|(_, known, _)| known == space).map(|row| row.0);
        self.0.iter().filter_map(|(space, path)| Some((kind(space)?, path.as_path()))).collect()
    }
}

fn is_namespace(path: &Path) -> bool {
    const NSFS: i64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == NSFS)
}

/// In a worker.
fn build(dir: &Path, wanted: &MakeNamespaces) -> Result<(Namespaces, Option<Process>)> {
    let mut pins = Pins::default();
    let new = plan(wanted);
    if !new.kinds.is_empty() {
        let held = new.make().map_err(of_runtime)?;
        for (kind, file) in held.files() {
            let Some((space, name)) = row(kind) else { continue };
            let below = dir.join(NAMESPACES).join(name);
            let path = if kind == NamespaceKind::Network { wanted.net.clone() } else { None };
            pins.add(space, &file, path.unwrap_or(below))?;
        }
    }
    oci::set_sysctls(&pins.paths(), &wanted.sysctls).map_err(of_runtime)?;
    let init = if wanted.pid {
        let init = init::start(dir, &pins.paths())?;
        let file = PathBuf::from(format!("/proc/{}/ns/pid", init.pid));
        let pinned = pins.add(Namespace::Pid, &file, dir.join(NAMESPACES).join("pid"));
        if let Err(error) = pinned {
            // The failure is what is reported.
            let _ = init::end(&init::runtime(dir));
            return Err(error);
        }
        Some(init)
    } else {
        None
    };
    let paths = std::mem::take(&mut pins.0);
    Ok((Namespaces { paths, init: init.as_ref().map(|init| init.pid) }, init))
}

fn plan(wanted: &MakeNamespaces) -> NewNamespaces {
    let kinds = [
        (NamespaceKind::Network, wanted.net.is_some()),
        (NamespaceKind::Ipc, wanted.ipc),
        (NamespaceKind::Uts, wanted.uts),
        (NamespaceKind::User, wanted.user.is_some()),
    ];
    let mapping = |map: &IdMapping| runtime_spec::IdMapping {
        container_id: map.container,
        host_id: map.host,
        size: map.size,
    };
    let user = wanted.user.clone().unwrap_or_default();
    NewNamespaces {
        kinds: kinds.into_iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| kind).collect(),
        uids: user.uids.iter().map(mapping).collect(),
        gids: user.gids.iter().map(mapping).collect(),
        hostname: wanted.hostname.clone().filter(|name| wanted.uts && !name.is_empty()),
    }
}

/// Sets kernel parameters in the pod's namespaces.
pub(crate) fn set(pod: &mut Pod, ticket: Ticket, sysctls: BTreeMap<String, String>) -> Result<()> {
    let Some(made) = pod.made_namespaces() else {
        return Err(Error::new(Kind::Precondition, "namespaces", "the pod has none yet"));
    };
    let pins = made.paths.clone();
    let job = Box::new(move || {
        let kind = |space| KINDS.iter().find(|(_, known, _)| known == space).map(|row| row.0);
        let paths: Vec<_> =
            pins.iter().filter_map(|(space, path)| Some((kind(space)?, path.as_path()))).collect();
        let set = oci::set_sysctls(&paths, &sysctls).map_err(of_runtime);
        let apply: Apply = Box::new(move |_| (set.map(|()| Answer::Done), Vec::new()));
        apply
    });
    pod.crew.give(Line::Change, ticket, job);
    Ok(())
}
