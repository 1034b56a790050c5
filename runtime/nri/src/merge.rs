//! What several plugins want, made one: each sees what those before it adjusted, and no two may set the
//! same.

mod entries;
mod resources;
#[cfg(test)]
mod tests;

pub(crate) use entries::unmarked;

use crate::owners::{Claims, Conflict};
use crate::v1alpha1::{
    Container, ContainerAdjustment, ContainerEviction, ContainerUpdate, CreateContainerRequest,
    CreateContainerResponse, Field, Hooks, LinuxContainerAdjustment, LinuxRdt, LinuxResources,
    OwningPlugins, PodSandbox, UpdateContainerRequest, UpdateContainerResponse,
};
use std::fmt;

/// Why a wish cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Two plugins set the same.
    Conflict(Conflict),
    /// A plugin wants new limits for the container that it is asked to adjust.
    UpdateOfNew(String),
}

impl From<Conflict> for Unfit {
    fn from(conflict: Conflict) -> Unfit {
        Unfit::Conflict(conflict)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Conflict(conflict) => write!(f, "{conflict}"),
            Unfit::UpdateOfNew(plugin) => {
                write!(f, "plugin {plugin:?} updates the container that is being made")
            }
        }
    }
}

/// The making of a container, as plugins adjust it.
#[derive(Debug, Default)]
pub(crate) struct Creation {
    pod: PodSandbox,
    container: Container,
    /// What all want together.
    pub(crate) adjust: ContainerAdjustment,
    /// What they want of other containers.
    pub(crate) others: Others,
}

/// What plugins want of other containers.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// New limits, one entry a container.
    pub(crate) updates: Vec<ContainerUpdate>,
    /// Containers that are to end.
    pub(crate) evictions: Vec<ContainerEviction>,
    /// Who set what.
    pub(crate) owners: OwningPlugins,
}

impl Others {
    /// Takes one plugin's wishes.
    ///
    /// # Errors
    /// They contradict another plugin's, which may not be ignored.
    fn take(&mut self, updates: Vec<ContainerUpdate>, plugin: &str) -> Result<(), Unfit> {
        for update in updates {
            let asked = update.linux.unwrap_or_default().resources.unwrap_or_default();
            let container = update.container_id.as_str();
            let mut claims = Claims { owners: &mut self.owners, container, plugin };
            match resources::claim(&mut claims, &asked) {
                Ok(()) => {}
                Err(conflict) if update.ignore_failure => {
                    tracing::warn!(plugin, container, cause = %conflict, "an update is left out");
                    continue;
                }
                Err(conflict) => return Err(conflict.into()),
            }
            let at = self.updates.iter().position(|one| one.container_id == container);
            let at = at.unwrap_or_else(|| {
                let container_id = container.to_owned();
                self.updates.push(ContainerUpdate {
                    container_id,
                    ignore_failure: true,
                    linux: None,
                });
                self.updates.len() - 1
            });
            let one = &mut self.updates[at];
            one.ignore_failure &= update.ignore_failure;
            let linux = one.linux.get_or_insert_default();
            resources::overlay(linux.resources.get_or_insert_default(), asked);
        }
        Ok(())
    }
}

impl Creation {
    pub(crate) fn new(pod: PodSandbox, container: Container) -> Creation {
        Creation { pod, container, ..Creation::default() }
    }

    /// What the next plugin is asked.
    pub(crate) fn request(&self) -> CreateContainerRequest {
        let (pod, container) = (Some(self.pod.clone()), Some(self.container.clone()));
        CreateContainerRequest { pod, container }
    }

    /// Takes one plugin's answer.
    ///
    /// # Errors
    /// It contradicts another's.
    pub(crate) fn take(
        &mut self,
        answer: CreateContainerResponse,
        plugin: &str,
    ) -> Result<(), Unfit> {
        if answer.update.iter().any(|update| update.container_id == self.container.id) {
            return Err(Unfit::UpdateOfNew(plugin.to_owned()));
        }
        if let Some(asked) = answer.adjust {
            self.adjust(asked, plugin)?;
        }
        self.others.evictions.extend(answer.evict);
        self.others.take(answer.update, plugin)
    }

    fn adjust(&mut self, mut asked: ContainerAdjustment, plugin: &str) -> Result<(), Conflict> {
        let id = self.container.id.clone();
        let mut claims = Claims { owners: &mut self.others.owners, container: &id, plugin };
        let (view, all) = (&mut self.container, &mut self.adjust);
        let claimed = (&mut claims, Field::Annotations);
        entries::map(claimed, asked.annotations, &mut view.annotations, &mut all.annotations)?;
        entries::mounts(&mut claims, asked.mounts, &mut view.mounts, &mut all.mounts)?;
        entries::variables(&mut claims, asked.env, &mut view.env, &mut all.env)?;
        args(&mut claims, std::mem::take(&mut asked.args), view, all)?;
        if let Some(asked) = asked.hooks.filter(|hooks| *hooks != Hooks::default()) {
            claims.join(Field::OciHooks);
            add_hooks(view.hooks.get_or_insert_default(), asked.clone());
            add_hooks(all.hooks.get_or_insert_default(), asked);
        }
        for limit in asked.rlimits {
            claims.claim_entry(Field::Rlimits, &limit.r#type)?;
            for list in [&mut view.rlimits, &mut all.rlimits] {
                list.retain(|old| old.r#type != limit.r#type);
                list.push(limit.clone());
            }
        }
        for device in asked.cdi_devices {
            claims.claim_entry(Field::CdiDevices, &device.name)?;
            all.cdi_devices.push(device);
        }
        match asked.linux {
            Some(asked) => linux(&mut claims, asked, view, all.linux.get_or_insert_default()),
            None => Ok(()),
        }
    }
}

fn args(
    claims: &mut Claims<'_>,
    mut asked: Vec<String>,
    view: &mut Container,
    all: &mut ContainerAdjustment,
) -> Result<(), Conflict> {
    let Some(first) = asked.first() else { return Ok(()) };
    if first.is_empty() {
        claims.clear(Field::Args);
        asked.remove(0);
    }
    claims.claim(Field::Args)?;
    view.args.clone_from(&asked);
    all.args = asked;
    Ok(())
}

fn add_hooks(to: &mut Hooks, more: Hooks) {
    to.prestart.extend(more.prestart);
    to.create_runtime.extend(more.create_runtime);
    to.create_container.extend(more.create_container);
    to.start_container.extend(more.start_container);
    to.poststart.extend(more.poststart);
    to.poststop.extend(more.poststop);
}

fn linux(
    claims: &mut Claims<'_>,
    asked: LinuxContainerAdjustment,
    view: &mut Container,
    all: &mut LinuxContainerAdjustment,
) -> Result<(), Conflict> {
    let seen = view.linux.get_or_insert_default();
    entries::devices(claims, asked.devices, &mut seen.devices, &mut all.devices)?;
    if let Some(asked) = asked.resources {
        resources::claim(claims, &asked)?;
        resources::overlay(seen.resources.get_or_insert_default(), asked.clone());
        resources::overlay(all.resources.get_or_insert_default(), asked);
    }
    if !asked.cgroups_path.is_empty() {
        claims.claim(Field::CgroupsPath)?;
        seen.cgroups_path.clone_from(&asked.cgroups_path);
        all.cgroups_path = asked.cgroups_path;
    }
    entries::namespaces(claims, asked.namespaces, &mut seen.namespaces, &mut all.namespaces)?;
    entries::map((claims, Field::Sysctl), asked.sysctl, &mut seen.sysctl, &mut all.sysctl)?;
    let claimed = (&mut *claims, Field::LinuxNetDevices);
    entries::map(claimed, asked.net_devices, &mut seen.net_devices, &mut all.net_devices)?;
    if let Some(asked) = asked.rdt {
        rdt(claims, asked, all.rdt.get_or_insert_default())?;
    }
    macro_rules! whole {
        ($($field:ident, $name:ident, $seen:expr;)*) => {$(
            if let Some(asked) = asked.$field {
                claims.claim(Field::$name)?;
                $seen = Some(asked.clone());
                all.$field = Some(asked);
            }
        )*};
    }
    let mut unseen = None;
    whole! {
        oom_score_adj, OomScoreAdj, seen.oom_score_adj;
        io_priority, IoPriority, seen.io_priority;
        seccomp_policy, SeccompPolicy, seen.seccomp_policy;
        scheduler, LinuxSched, seen.scheduler;
        memory_policy, MemoryPolicy, unseen;
    }
    drop(unseen);
    Ok(())
}

fn rdt(claims: &mut Claims<'_>, asked: LinuxRdt, all: &mut LinuxRdt) -> Result<(), Conflict> {
    if asked.remove {
        for field in [Field::RdtClosId, Field::RdtSchemata, Field::RdtEnableMonitoring] {
            claims.clear(field);
        }
        *all = LinuxRdt { remove: true, ..LinuxRdt::default() };
    }
    if let Some(class) = asked.clos_id {
        claims.claim(Field::RdtClosId)?;
        all.clos_id = Some(class);
    }
    if let Some(schemata) = asked.schemata {
        claims.claim(Field::RdtSchemata)?;
        all.schemata = Some(schemata);
    }
    if let Some(monitored) = asked.enable_monitoring {
        claims.claim(Field::RdtEnableMonitoring)?;
        all.enable_monitoring = Some(monitored);
    }
    Ok(())
}

/// New limits of a container, as plugins adjust them.
#[derive(Debug, Default)]
pub(crate) struct Updating {
    request: UpdateContainerRequest,
    /// What they want of this container and others.
    others: Others,
}

impl Updating {
    pub(crate) fn new(pod: PodSandbox, container: Container, asked: LinuxResources) -> Updating {
        let (pod, container) = (Some(pod), Some(container));
        let request = UpdateContainerRequest { pod, container, linux_resources: Some(asked) };
        Updating { request, others: Others::default() }
    }

    /// What the next plugin is asked.
    pub(crate) fn request(&self) -> &UpdateContainerRequest {
        &self.request
    }

    /// Takes one plugin's answer.
    ///
    /// # Errors
    /// It contradicts another's.
    pub(crate) fn take(
        &mut self,
        answer: UpdateContainerResponse,
        plugin: &str,
    ) -> Result<(), Unfit> {
        self.others.evictions.extend(answer.evict);
        self.others.take(answer.update, plugin)?;
        let id = self.request.container.as_ref().map(|one| one.id.as_str()).unwrap_or_default();
        let own = self.others.updates.iter().position(|update| update.container_id == id);
        if let Some(own) = own {
            let own = self.others.updates.remove(own).linux.unwrap_or_default();
            let asked = self.request.linux_resources.get_or_insert_default();
            resources::overlay(asked, own.resources.unwrap_or_default());
        }
        Ok(())
    }

    /// The container's new limits, and what is wanted of others.
    pub(crate) fn finish(self) -> (LinuxResources, Others) {
        (self.request.linux_resources.unwrap_or_default(), self.others)
    }
}

/// What plugins want because a container has ended.
///
/// # Errors
/// They contradict each other.
pub(crate) fn stopped(
    others: &mut Others,
    updates: Vec<ContainerUpdate>,
    plugin: &str,
) -> Result<(), Unfit> {
    others.take(updates, plugin)
}
