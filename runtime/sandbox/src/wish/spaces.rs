//! Which namespaces a pod has of its own.

use crate::namespaces::IdRange;
use crate::{Error, Result};
use cri_api::v1::{IdMapping, NamespaceMode, NamespaceOption, UserNamespace};

/// Namespaces of a pod's own. UTS follows the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spaces {
    pub(crate) net: bool,
    pub(crate) ipc: bool,
    pub(crate) pid: PidMode,
    pub(crate) user: Option<Mappings>,
}

/// Whose processes containers see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PidMode {
    /// Their own.
    #[default]
    Container,
    /// The pod's.
    Pod,
    /// The node's.
    Node,
}

/// Ids of a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mappings {
    pub(crate) uids: Vec<IdRange>,
    pub(crate) gids: Vec<IdRange>,
}

impl Spaces {
    /// # Errors
    /// Modes that a pod cannot have, and mappings that the kernel would refuse.
    pub(super) fn parse(options: &NamespaceOption) -> Result<Spaces> {
        let pid = match NamespaceMode::try_from(options.pid) {
            Ok(NamespaceMode::Pod) => PidMode::Pod,
            Ok(NamespaceMode::Container) => PidMode::Container,
            Ok(NamespaceMode::Node) => PidMode::Node,
            _ => return Err(mode("pid", options.pid)),
        };
        let spaces = Spaces {
            net: own("network", options.network)?,
            ipc: own("ipc", options.ipc)?,
            pid,
            user: options.userns_options.as_ref().map(mappings).transpose()?.flatten(),
        };
        let shares = !spaces.net || !spaces.ipc || spaces.pid == PidMode::Node;
        if spaces.user.is_some() && shares {
            let cause = "a pod with user ids of its own cannot share the node's other namespaces";
            return Err(Error::invalid("namespace_options.userns_options", cause)
                .with_advice("leave out hostNetwork, hostIPC and hostPID, or set hostUsers"));
        }
        Ok(spaces)
    }
}

fn mode(field: &str, number: i32) -> Error {
    let name = NamespaceMode::try_from(number).map(|m| m.as_str_name().to_owned());
    let cause = format!("{} is not a mode of pods", name.unwrap_or_else(|_| number.to_string()));
    Error::invalid(format!("namespace_options.{field}"), cause)
}

fn own(field: &str, number: i32) -> Result<bool> {
    match NamespaceMode::try_from(number) {
        Ok(NamespaceMode::Pod) => Ok(true),
        Ok(NamespaceMode::Node) => Ok(false),
        _ => Err(mode(field, number)),
    }
}

fn mappings(options: &UserNamespace) -> Result<Option<Mappings>> {
    let field = "namespace_options.userns_options";
    match NamespaceMode::try_from(options.mode) {
        Ok(NamespaceMode::Node) if options.uids.is_empty() && options.gids.is_empty() => Ok(None),
        Ok(NamespaceMode::Node) => {
            Err(Error::invalid(field, "has mappings, but the mode is the node's"))
        }
        Ok(NamespaceMode::Pod) => Ok(Some(Mappings {
            uids: ranges(&format!("{field}.uids"), &options.uids)?,
            gids: ranges(&format!("{field}.gids"), &options.gids)?,
        })),
        _ => Err(mode("userns_options.mode", options.mode)),
    }
}

/// Ranges that do not overlap, inside or outside (user_namespaces(7)), and give the namespace a
/// root: nobody else may set it up.
fn ranges(field: &str, list: &[IdMapping]) -> Result<Vec<IdRange>> {
    if list.is_empty() {
        return Err(Error::invalid(field, "is empty"));
    }
    let mut found: Vec<IdRange> = Vec::new();
    for mapping in list {
        let new = IdRange {
            container: mapping.container_id,
            host: mapping.host_id,
            length: mapping.length,
        };
        let fits = |first: u32| first.checked_add(new.length).is_some();
        if new.length == 0 || !fits(new.container) || !fits(new.host) {
            let cause = format!("{} ids from {} to {}", new.length, new.container, new.host);
            return Err(Error::invalid(field, format!("{cause}: no such range")));
        }
        let meets = |a: u32, b: u32, length: u32| a < b + length && b < a + new.length;
        let taken = found.iter().any(|old| {
            meets(new.container, old.container, old.length) || meets(new.host, old.host, old.length)
        });
        if taken {
            return Err(Error::invalid(field, "ranges overlap"));
        }
        found.push(new);
    }
    if !found.iter().any(|range| range.container == 0) {
        return Err(Error::invalid(field, "container ID 0 is not mapped"));
    }
    Ok(found)
}
