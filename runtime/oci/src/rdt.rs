//! Cache and memory bandwidth by resctrl (config-linux.md, IntelRdt).
//!
//! A group that was made for a container goes with it; one that was there before, or has a name of its
//! own (`closID`), stays. A monitoring group always goes.

use crate::state::Record;
use crate::{Error, Kind, Result};
use runtime_spec::{IntelRdt, Spec};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Names below the root that are no groups.
const RESERVED: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

/// A container's place among the groups.
#[derive(Debug)]
pub(crate) struct Rdt<'a> {
    wire: &'a IntelRdt,
    group: PathBuf,
    monitor: Option<PathBuf>,
    /// Made by this creation; removed when it fails.
    made: Vec<PathBuf>,
}

/// Checks the configuration.
pub(crate) fn check(wire: &IntelRdt) -> Result<()> {
    let invalid =
        |key: &str, cause: &str| Err(Error::invalid(format!("linux.intelRdt.{key}"), cause));
    let odd = |name: &str| {
        name.is_empty() || name.contains(['/', '\0', '\n']) || RESERVED.contains(&name)
    };
    if wire.clos_id.as_deref().is_some_and(|name| name != "/" && odd(name)) {
        return invalid("closID", "is no name of a group");
    }
    if wire.mem_bw_schema.as_deref().is_some_and(|schema| !schema.starts_with("MB:")) {
        return invalid("memBwSchema", "must begin with MB:");
    }
    if lines(wire).any(|line| line.contains('\n')) {
        return invalid("schemata", "has more than one line in an entry");
    }
    Ok(())
}

/// What is written to `schemata`, in this order.
fn lines(wire: &IntelRdt) -> impl Iterator<Item = &str> {
    let fields = [&wire.l3_cache_schema, &wire.mem_bw_schema];
    fields.into_iter().flatten().chain(&wire.schemata).map(String::as_str)
}

/// Where resctrl is mounted.
fn root() -> Result<PathBuf> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(path).map_err(|error| Error::path(path, "read", &error))?;
    let place = text.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("resctrl ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    });
    place.ok_or_else(|| {
        let cause = "no resctrl file system is mounted: this machine or its kernel lacks it, or it is \
            to be mounted at /sys/fs/resctrl";
        Error::new(Kind::Unsupported, "linux.intelRdt", cause)
    })
}

impl<'a> Rdt<'a> {
    /// The place of a container, if it asks for one.
    pub(crate) fn of(spec: &'a Spec, id: &str) -> Result<Option<Rdt<'a>>> {
        let wire = spec.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref());
        wire.map(|wire| Ok(Rdt::below(&root()?, wire, id))).transpose()
    }

    fn below(root: &Path, wire: &'a IntelRdt, id: &str) -> Rdt<'a> {
        let name = wire.clos_id.as_deref().unwrap_or(id);
        let group = if name == "/" { root.to_owned() } else { root.join(name) };
        let monitor = wire.enable_monitoring.then(|| group.join("mon_groups").join(id));
        Rdt { wire, group, monitor, made: Vec::new() }
    }

    /// Notes what the container's end is to remove, before it is made.
    pub(crate) fn note(&self, record: &mut Record) {
        let own = self.wire.clos_id.is_none() && !self.group.exists();
        record.rdt = own.then(|| self.group.clone());
        record.monitor.clone_from(&self.monitor);
    }

    /// Makes what is missing, and puts a process in it.
    pub(crate) fn enter(&mut self, pid: i32) -> Result<()> {
        let (wishes, named): (Vec<&str>, _) =
            (lines(self.wire).collect(), self.wire.clos_id.is_some());
        let found = self.make(&self.group.clone(), named && wishes.is_empty())?;
        if found && named {
            self.compare()?;
        }
        if !wishes.is_empty() {
            let path = self.group.join("schemata");
            put(&path, &format!("{}\n", wishes.join("\n"))).map_err(|error| self.said(error))?;
        }
        if let Some(monitor) = self.monitor.clone() {
            self.make(&monitor, false)?;
        }
        self.join(pid)
    }

    /// Puts a process where the container is.
    pub(crate) fn join(&self, pid: i32) -> Result<()> {
        let groups = [Some(&self.group), self.monitor.as_ref()];
        groups
            .into_iter()
            .flatten()
            .try_for_each(|group| put(&group.join("tasks"), &pid.to_string()))
    }

    /// They stay.
    pub(crate) fn keep(rdt: Option<Rdt<'_>>) {
        rdt.map(|mut rdt| std::mem::take(&mut rdt.made));
    }

    /// Whether a group was there. One that must be there is not made.
    fn make(&mut self, group: &Path, must: bool) -> Result<bool> {
        let made =
            if must { std::fs::metadata(group).map(drop) } else { std::fs::create_dir(group) };
        match made {
            Ok(()) if must => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(true),
            Ok(()) => {}
            Err(error) if must => {
                let cause = format!("{} is not there, and no schemata to make it", group.display());
                return Err(Error::path(Path::new("linux.intelRdt.closID"), &cause, &error));
            }
            Err(error) => return Err(self.said(Error::path(group, "mkdir", &error))),
        }
        self.made.push(group.to_owned());
        Ok(false)
    }

    /// A group that others use must be as the configuration wants it.
    fn compare(&self) -> Result<()> {
        let path = self.group.join("schemata");
        for wish in [&self.wire.l3_cache_schema, &self.wire.mem_bw_schema].into_iter().flatten() {
            let now = std::fs::read_to_string(&path)
                .map_err(|error| Error::path(&path, "read", &error))?;
            let (resource, parts) = wish.split_once(':').unwrap_or((wish, ""));
            let held = now.lines().filter_map(|line| line.trim().split_once(':'));
            let held =
                held.filter(|(name, _)| *name == resource).flat_map(|(_, held)| values(held));
            let held: Vec<(u64, u64)> = held.collect();
            if values(parts).any(|part| !held.contains(&part)) {
                let cause = format!("{wish:?} is not what the group has: {:?}", now.trim());
                return Err(Error::invalid(path.display().to_string(), cause));
            }
        }
        Ok(())
    }

    /// With the words of the kernel about the last command.
    fn said(&self, mut error: Error) -> Error {
        let root = self
            .group
            .ancestors()
            .find_map(|dir| std::fs::read_to_string(dir.join("info/last_cmd_status")).ok());
        let said = root.unwrap_or_default();
        if !matches!(said.trim(), "" | "ok") {
            error.cause = format!("{} ({})", error.cause, said.trim());
        }
        error
    }
}

impl Drop for Rdt<'_> {
    fn drop(&mut self) {
        while let Some(path) = self.made.pop() {
            // The failure that led here is what the caller reports.
            let _ = remove(&path);
        }
    }
}

/// Numbers and values of a schema: `0=7f0;1=1f`, in hexadecimal or not.
fn values(parts: &str) -> impl Iterator<Item = (u64, u64)> {
    parts.split(';').filter_map(|part| {
        let (number, value) = part.split_once('=')?;
        Some((number.trim().parse().ok()?, u64::from_str_radix(value.trim(), 16).ok()?))
    })
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| Error::path(path, "write", &error))
}

/// Removes a group; its processes go to the one above. One that is gone is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::path(path, "rmdir", &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that stands for the file system, with one group in it.
    fn stage(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("podloom-rdt-{}-{name}", std::process::id()));
        std::fs::create_dir_all(root.join("gold/mon_groups")).expect("a group");
        std::fs::write(root.join("gold/schemata"), "    L3:0=7f0;1=1f\n    MB:0= 20;1= 70\n")
            .expect("schemata");
        root
    }

    fn wish(text: &str) -> IntelRdt {
        serde_json::from_str(text).expect("a configuration")
    }

    fn read(path: PathBuf) -> String {
        std::fs::read_to_string(path).expect("a file")
    }

    #[test]
    fn a_group_of_its_own_is_made_noted_and_removed() {
        let root = stage("own");
        let wire = wish(
            r#"{"schemata": ["L2:0=f"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f"}"#,
        );
        let mut rdt = Rdt::below(&root, &wire, "c1");
        let mut record = Record::default();
        rdt.note(&mut record);
        assert_eq!((&record.rdt, &record.monitor), (&Some(root.join("c1")), &None));
        rdt.enter(7).expect("entered");
        assert_eq!(read(root.join("c1/schemata")), "L3:0=f\nMB:0=20\nL2:0=f\n", "in this order");
        assert_eq!(read(root.join("c1/tasks")), "7");
        Rdt::keep(Some(rdt));
        for file in ["schemata", "tasks"] {
            std::fs::remove_file(root.join("c1").join(file)).expect("gone, as resctrl does it");
        }
        remove(&root.join("c1")).expect("removed");
        remove(&root.join("c1")).expect("removed before");
        assert!(!root.join("c1").exists());
        std::fs::remove_dir_all(root).expect("the stage");
    }

    #[test]
    fn a_named_group_stays_and_must_be_as_wished() {
        let root = stage("named");
        let enter = |text: &str| {
            let wire = wish(text);
            let mut rdt = Rdt::below(&root, &wire, "c2");
            let mut record = Record::default();
            rdt.note(&mut record);
            assert_eq!(record.rdt, None, "not the container's to remove");
            let entered = rdt.enter(8);
            entered.map(|()| Rdt::keep(Some(rdt))).map_err(|error| error.to_string())
        };
        enter(r#"{"closID": "gold"}"#).expect("there");
        assert_eq!(read(root.join("gold/tasks")), "8");
        assert_eq!(read(root.join("gold/schemata")).lines().count(), 2, "nothing is written");
        let error = enter(r#"{"closID": "tin"}"#).expect_err("not there");
        assert!(error.contains("closID") && !root.join("tin").exists(), "{error}");
        let error = enter(r#"{"closID": "gold", "l3CacheSchema": "L3:0=1"}"#).expect_err("differs");
        assert!(error.contains("not what the group has"), "{error}");
        enter(r#"{"closID": "gold", "l3CacheSchema": "L3:1=01f;0=7f0", "enableMonitoring": true}"#)
            .expect("the same in other words");
        assert_eq!(read(root.join("gold/mon_groups/c2/tasks")), "8");
        enter(r#"{"closID": "new", "memBwSchema": "MB:0=10"}"#).expect("made");
        assert_eq!(read(root.join("new/schemata")), "MB:0=10\n");
        enter(r#"{"closID": "/"}"#).expect("the default");
        assert_eq!(read(root.join("tasks")), "8");
        std::fs::remove_dir_all(root).expect("the stage");
    }

    #[test]
    fn a_failure_removes_what_it_made_and_tells_the_kernels_words() {
        let root = stage("undo");
        std::fs::create_dir_all(root.join("info")).expect("info");
        std::fs::write(root.join("info/last_cmd_status"), "out of CLOSIDs\n").expect("a status");
        let wire = wish(r#"{"enableMonitoring": true}"#);
        let mut rdt = Rdt::below(&root, &wire, "c3");
        let error = rdt.enter(9).expect_err("no monitoring here").to_string();
        assert!(error.contains("out of CLOSIDs"), "{error}");
        assert!(root.join("c3").exists());
        drop(rdt);
        assert!(!root.join("c3").exists(), "a failed creation leaves no group");
        std::fs::remove_dir_all(root).expect("the stage");
    }

    #[test]
    fn names_lead_nowhere_else() {
        for bad in ["", "..", "a/b", "info", "mon_groups", "a\nb"] {
            let wire = IntelRdt { clos_id: Some(bad.to_owned()), ..IntelRdt::default() };
            assert!(check(&wire).is_err(), "{bad:?}");
        }
        for bad in [r#"{"memBwSchema": "L3:0=f"}"#, r#"{"schemata": ["L3:0=f\nMB:0=1"]}"#] {
            assert!(check(&wish(bad)).is_err(), "{bad}");
        }
        check(&wish(r#"{"closID": "/", "schemata": ["L3:0=f"]}"#)).expect("fine");
    }
}
