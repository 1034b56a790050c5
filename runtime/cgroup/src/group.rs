//! A container's group: made, limited, joined, removed.

use crate::devices::{Rule, V1};
use crate::dir::{Dir, Tries};
use crate::error::{Error, Kind, Result};
use crate::layout::{Layout, Membership, Version};
use crate::path::{RelPath, Unit, Wish};
use crate::paths::{Paths, Place};
use crate::step::{self, Step};
use crate::systemd::{self, Property};
use crate::{bpf, ebpf, plan, tree};
use runtime_spec::Resources;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Who makes the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// This library, directly.
    #[default]
    Cgroupfs,
    /// systemd, asked over D-Bus for a scope.
    Systemd,
}

/// The group that is wished.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The container's id: the group's name when there is no path.
    pub id: &'a str,
    /// `linux.cgroupsPath`. Both drivers take both forms: `slice:prefix:name` is made by
    /// [`Driver::Cgroupfs`] where systemd would, and a path whose parent is a slice is that unit for
    /// [`Driver::Systemd`].
    pub path: Option<&'a str>,
    /// Who makes it.
    pub driver: Driver,
    /// Whether the caller lacks root's rights: a group that cannot be made is then no error, as long
    /// as no limit is asked; systemd is the user's.
    pub rootless: bool,
    /// User to whom a v2 group is given, for containers that run their own groups.
    pub owner: Option<u32>,
    /// The first process, which systemd wants for a scope and moves into its own tree. Needed by
    /// [`Driver::Systemd`] (but for slices), ignored by [`Driver::Cgroupfs`]. With v1 trees the
    /// process still has to join those: `joiner().join(true)`, which does nothing on v2 alone.
    pub pid: Option<u32>,
    /// Limits that systemd is told at once; [`Cgroup::apply`] is needed in any case.
    pub resources: Option<&'a Resources>,
    /// Further properties of systemd's unit, checked by [`systemd::properties`].
    pub properties: &'a [Property],
}

impl<'a> Request<'a> {
    /// A request with the container's id and nothing else.
    pub fn new(id: &'a str) -> Self {
        Self {
            id,
            path: None,
            driver: Driver::Cgroupfs,
            rootless: false,
            owner: None,
            pid: None,
            resources: None,
            properties: &[],
        }
    }
}

/// A container's group in all trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    pub(crate) paths: Paths,
}

/// A group just made: dropped, it is removed again with all that is in it; kept, it stays.
#[derive(Debug)]
pub struct Created(Option<Cgroup>);

/// How long the undo of a failed creation may take.
const UNDO: Duration = Duration::from_secs(2);

impl Created {
    /// The group stays.
    #[must_use]
    pub fn keep(mut self) -> Cgroup {
        self.0.take().unwrap_or(Cgroup { paths: Paths::default() })
    }
}

impl Deref for Created {
    type Target = Cgroup;

    fn deref(&self) -> &Cgroup {
        static NONE: Cgroup = Cgroup { paths: Paths::NONE };
        self.0.as_ref().unwrap_or(&NONE)
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // The failure that led here is what the caller reports; a group that cannot be emptied
            // is left for `destroy`, which says why.
            let _ = group.kill(UNDO);
            let mut mine = group.paths;
            mine.places.retain(|place| place.made > 0);
            let _ = Cgroup::load(mine).destroy(UNDO);
        }
    }
}

impl Cgroup {
    /// Makes the group in every mounted tree. Until it is kept, dropping it undoes all.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a bad path, [`Kind::InUse`] when it has processes or is frozen,
    /// [`Kind::NoPermission`], and what the kernel or systemd says.
    pub fn create(request: &Request<'_>) -> Result<Created> {
        let layout = Layout::detect()?;
        let wish = Wish::parse(request.path, request.id)?;
        let made = match request.driver {
            Driver::Cgroupfs => Self::create_direct(request, layout, &wish),
            Driver::Systemd => Self::create_unit(request, layout, wish),
        };
        match made {
            Err(e) if request.rootless && e.kind() == Kind::NoPermission => {
                let paths = Paths { rootless: true, ..Paths::default() };
                Ok(Created(Some(Cgroup { paths })))
            }
            other => other,
        }
    }

    /// Where [`Cgroup::create`] will make the group: to be recorded before, so that a group that was
    /// being made when the program was killed can be loaded and destroyed. For the user's systemd
    /// only the unit is known. When [`Cgroup::create`] refuses, such a record must not be acted on:
    /// the group may be another's.
    ///
    /// # Errors
    /// As [`Cgroup::create`], for a request that is not valid.
    pub fn intended(request: &Request<'_>) -> Result<Paths> {
        let layout = Layout::detect()?;
        let wish = Wish::parse(request.path, request.id)?;
        let rootless = request.rootless;
        if request.driver == Driver::Cgroupfs {
            let places = places(layout, &wish)?;
            return Ok(Paths { places, rootless, ..Paths::default() });
        }
        let unit = unit_wished(request, wish)?;
        let path = unit.path()?;
        let trees = layout.hierarchies().iter().filter(|_| !rootless);
        let places = trees.map(|tree| place(tree, path.clone())).collect();
        Ok(Paths { places, unit: Some(unit.name), user: rootless, rootless })
    }

    fn create_direct(request: &Request<'_>, layout: &Layout, wish: &Wish) -> Result<Created> {
        let paths = Paths { rootless: request.rootless, ..Paths::default() };
        let mut made = Created(Some(Cgroup { paths }));
        made.fill(places(layout, wish)?, request)?;
        Ok(made)
    }

    fn create_unit(request: &Request<'_>, layout: &Layout, wish: Wish) -> Result<Created> {
        let unit = unit_wished(request, wish)?;
        let base = systemd::start(&unit, request)?;
        let path = base.join(&unit.path()?);
        let paths = Paths {
            unit: Some(unit.name),
            user: request.rootless,
            rootless: request.rootless,
            ..Paths::default()
        };
        let mut made = Created(Some(Cgroup { paths }));
        let places = layout.hierarchies().iter().map(|tree| place(tree, path.clone())).collect();
        made.fill(places, request)?;
        Ok(made)
    }

    /// The group that was recorded.
    pub fn load(paths: Paths) -> Self {
        Self { paths }
    }

    /// What to record.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Sets limits and, if there are any, device rules. Values that are absent stay as they are;
    /// device rules, if given, are all that hold from then on. Real-time budgets of v1 must be set
    /// before a process joins.
    ///
    /// # Errors
    /// [`Kind::Invalid`] and [`Kind::Unsupported`] by the configuration, [`Kind::ControllerMissing`]
    /// when this machine cannot do what is asked, [`Kind::NoPermission`] for limits without a group.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        let steps = plan::steps(&self.paths, resources)?;
        if self.paths.is_none() {
            return match steps.first() {
                None => Ok(()),
                Some(step) => Err(Error::new(
                    Kind::NoPermission,
                    &step.file,
                    "a limit was asked, but without root's rights no group could be made",
                )),
            };
        }
        let mut dirs = Dirs { paths: &self.paths, open: Vec::new() };
        dirs.prepare(&steps)?;
        step::run(&steps, |step| dirs.of(step))?;
        match resources.devices.is_empty() {
            true => Ok(()),
            false => self.devices(&Rule::parse_all(&resources.devices)?),
        }
    }

    /// Sets limits of a container that runs: like [`Cgroup::apply`], but systemd is told as well, and
    /// a memory limit below the present use is refused when `checkBeforeUpdate` says so. A limit of
    /// memory and swap wants that of memory beside it: callers fill in what the container has.
    ///
    /// # Errors
    /// As [`Cgroup::apply`].
    pub fn update(&self, resources: &Resources) -> Result<()> {
        if let Some(memory) = &resources.memory
            && memory.check_before_update == Some(true)
            && let Some(limit) = memory.limit.filter(|l| *l > 0)
        {
            let used = self.memory_used()?;
            if used > limit.unsigned_abs() {
                return Err(Error::invalid(
                    format_args!("memory.limit {limit}"),
                    format_args!("{used} bytes are in use, and checkBeforeUpdate is set"),
                ));
            }
        }
        if let Some(unit) = &self.paths.unit {
            systemd::update(&self.paths, unit, resources)?;
        }
        self.apply(resources)
    }

    fn memory_used(&self) -> Result<u64> {
        let (place, file) = match self.paths.v1("memory") {
            Some(place) => (place, "memory.usage_in_bytes"),
            None => match self.paths.v2() {
                Some(place) => (place, "memory.current"),
                None => return Ok(0),
            },
        };
        let text = Dir::open(&place.dir())?.read(file)?;
        text.trim().parse().map_err(|_| Error::invalid(file, "not a number"))
    }

    fn devices(&self, rules: &[Rule]) -> Result<()> {
        let done = match (self.paths.v1("devices"), self.paths.v2()) {
            (Some(place), _) => {
                let dir = Dir::open(&place.dir())?;
                let now = V1::read(&dir.read("devices.list")?);
                // The kernel checks each rule against the parent's.
                V1::of(rules)?.from(&now).iter().try_for_each(|w| dir.write(w.file, &w.line))
            }
            (None, Some(place)) => bpf::install(&Dir::open(&place.dir())?, &ebpf::compile(rules)),
            (None, None) => Err(Error::new(
                Kind::ControllerMissing,
                "devices",
                "no tree of control groups on this machine enforces device rules",
            )),
        };
        match done {
            // In a user namespace no device can be made, and only those bound in can be opened.
            Err(e) if self.paths.rootless && e.kind() == Kind::NoPermission => Ok(()),
            other => other,
        }
    }

    /// The processes, those of groups below included.
    ///
    /// # Errors
    /// When the files cannot be read; a group that is gone has no processes.
    pub fn pids(&self) -> Result<Vec<u32>> {
        match self.paths.lead().map(|place| Dir::find(&place.dir())).transpose()?.flatten() {
            Some(dir) => tree::pids(&dir),
            None => Ok(Vec::new()),
        }
    }

    /// Whether the group exists.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn exists(&self) -> Result<bool> {
        Ok(self.paths.lead().map(|place| Dir::find(&place.dir())).transpose()?.flatten().is_some())
    }

    /// Whether systemd has the group's unit for the container `id`, with nothing in it. Such a unit was
    /// made around a process that had just ended: the kernel takes that in silence, and a group that
    /// never had a process is never told to be empty, so systemd keeps it.
    ///
    /// # Errors
    /// systemd does not answer, or the kernel's word on the group cannot be read.
    pub fn is_left_over(&self, id: &str) -> Result<bool> {
        let Some(unit) = &self.paths.unit else { return Ok(false) };
        let told = systemd::description(unit, self.paths.user)?;
        Ok(told == Some(systemd::described(id)) && self.pids()?.is_empty())
    }

    /// Removes the group, groups that the container made below it, and parents that were made for
    /// it and are empty. Processes must have ended; those that are just ending are waited for, up to
    /// `limit`. What is gone already is no error.
    ///
    /// # Errors
    /// [`Kind::Timeout`] when processes remain, and what the kernel or systemd says. All trees are
    /// tried before the first error is returned.
    pub fn destroy(&self, limit: Duration) -> Result<()> {
        let mut tries = Tries::within(limit);
        let mut outcome = match &self.paths.unit {
            Some(unit) => systemd::stop(unit, self.paths.user, limit),
            None => Ok(()),
        };
        for place in &self.paths.places {
            let removed = tree::remove(place, &mut tries);
            outcome = outcome.and(removed);
        }
        outcome
    }

    /// The directory of the v2 group, for `clone3` with `CLONE_INTO_CGROUP`.
    pub(crate) fn v2_fd(&self) -> Result<Option<OwnedFd>> {
        let open = |place: &Place| Dir::open(&place.dir()).map(Dir::into_fd);
        self.paths.v2().map(open).transpose()
    }
}

impl Created {
    fn fill(&mut self, places: Vec<Place>, request: &Request<'_>) -> Result<()> {
        let Some(group) = &mut self.0 else { return Ok(()) };
        for mut place in places {
            let done = tree::make(&mut place);
            let (made, path) = (place.made, place.dir());
            // Recorded before anything else can fail, so that the undo knows of it.
            if done.is_ok() && made > 0 {
                group.paths.places.push(place.clone());
            }
            done?;
            if made == 0 {
                if group.paths.unit.is_none() {
                    refuse_used(&place)?;
                }
                group.paths.places.push(place.clone());
            }
            if place.has("cpuset") {
                tree::inherit_cpuset(&place)?;
            }
            if place.version == Version::V2 {
                let leaf = Dir::open(&path)?;
                tree::enable_controllers(&place, &leaf)?;
                tree::join_threads(&leaf)?;
                if let Some(owner) = request.owner {
                    tree::delegate(&leaf, owner)?;
                }
            }
        }
        Ok(())
    }
}

/// A group that was there before is taken only when nobody uses it.
fn refuse_used(place: &Place) -> Result<()> {
    let dir = Dir::open(&place.dir())?;
    let count = tree::pids(&dir)?.len();
    let used = |why: String| Err(Error::new(Kind::InUse, dir.path().display(), why));
    if count > 0 {
        return used(format!("container's cgroup is not empty: {count} processes"));
    }
    let frozen = match place.version {
        Version::V2 => dir.try_read("cgroup.freeze")?.is_some_and(|t| t.trim() == "1"),
        Version::V1 => dir.try_read("freezer.state")?.is_some_and(|t| t.trim() != "THAWED"),
    };
    if frozen {
        return used("container's cgroup unexpectedly frozen".to_owned());
    }
    Ok(())
}

fn place(tree: &crate::layout::Hierarchy, path: RelPath) -> Place {
    Place {
        mount: tree.mount.clone(),
        path,
        version: tree.version,
        controllers: tree.controllers.clone(),
        made: 0,
    }
}

/// The places of a group that is made directly.
fn places(layout: &Layout, wish: &Wish) -> Result<Vec<Place>> {
    let own = match wish {
        Wish::Relative(_) => Membership::of("self")?,
        _ => Membership::default(),
    };
    let mut places = Vec::new();
    for tree in layout.hierarchies() {
        let path = match wish {
            Wish::Absolute(path) => path.clone(),
            Wish::Unit(unit) => unit.path()?,
            Wish::Relative(path) => {
                let own = own.below(tree)?.unwrap_or_default();
                // v2: our own group has processes, so that it cannot pass on controllers.
                let base = if tree.version == Version::V2 { own.parent() } else { own };
                base.join(path)
            }
        };
        places.push(place(tree, path));
    }
    Ok(places)
}

/// The unit of a request for systemd.
fn unit_wished(request: &Request<'_>, wish: Wish) -> Result<Unit> {
    match wish {
        Wish::Unit(unit) => Ok(unit),
        Wish::Relative(path) if request.path.is_none_or(str::is_empty) => {
            Unit::parse(if request.rootless { "user.slice" } else { "" }, "", path.as_str())
        }
        Wish::Absolute(path) | Wish::Relative(path) => unit_of(&path),
    }
}

/// The unit that a path of directories names.
fn unit_of(path: &RelPath) -> Result<Unit> {
    let (up, name) = path.as_str().rsplit_once('/').unwrap_or(("-.slice", path.as_str()));
    let slice = up.rsplit_once('/').map_or(up, |(_, last)| last);
    if !slice.ends_with(".slice") {
        return Err(Error::invalid(
            path,
            "the systemd driver wants cgroupsPath as slice:prefix:name, or a path in a slice",
        ));
    }
    Unit::parse(slice, "", name.strip_suffix(".scope").unwrap_or(name))
}

/// Directories opened once for many steps.
struct Dirs<'a> {
    paths: &'a Paths,
    open: Vec<(&'static str, Dir)>,
}

impl Dirs<'_> {
    fn prepare(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            if self.open.iter().any(|(key, _)| *key == Self::key(step)) {
                continue;
            }
            let place = match step.version {
                Version::V2 => self.paths.v2(),
                Version::V1 => self.paths.v1(step.controller),
            };
            let place = place.ok_or_else(|| {
                Error::new(
                    Kind::ControllerMissing,
                    &step.file,
                    format_args!("no tree with the controller {} is mounted", step.controller),
                )
            })?;
            self.open.push((Self::key(step), Dir::open(&place.dir())?));
        }
        Ok(())
    }

    /// One name for each tree that is needed.
    fn key(step: &Step) -> &'static str {
        if step.version == Version::V2 { "" } else { step.controller }
    }

    fn of(&self, step: &Step) -> Result<&Dir> {
        let found = self.open.iter().find(|(key, _)| *key == Self::key(step));
        found.map(|(_, dir)| dir).ok_or_else(|| {
            Error::new(Kind::ControllerMissing, &step.file, "its tree was not opened")
        })
    }
}
