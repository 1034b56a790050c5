//! Mounts, in an order in which none covers another.

use super::unfit;
use crate::merge::unmarked;
use crate::v1alpha1::Mount;
use container::Result;
use runtime_spec::Spec;
use std::path::{Component, Path, PathBuf};

pub(super) fn apply(spec: &mut Spec, asked: Vec<Mount>) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    for mount in asked {
        let (destination, removed) = unmarked(&mount.destination);
        let destination = inside(destination)?;
        spec.mounts.retain(|old| old.destination != destination);
        if removed {
            continue;
        }
        propagate(spec, &mount);
        let set = |text: String| Some(text).filter(|text| !text.is_empty());
        spec.mounts.push(runtime_spec::Mount {
            destination,
            kind: set(mount.r#type),
            source: set(mount.source).map(PathBuf::from),
            options: mount.options,
            ..runtime_spec::Mount::default()
        });
    }
    // Stable: of the same depth, as they were.
    spec.mounts.sort_by_key(|mount| mount.destination.components().count());
    Ok(())
}

fn inside(destination: &str) -> Result<PathBuf> {
    let path = Path::new(destination);
    let is_sound = path.is_absolute()
        && path.parent().is_some()
        && !destination.contains('\0')
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    match is_sound {
        // Made of its parts, so that `/a/` is `/a`.
        true => Ok(path.components().collect()),
        false => Err(unfit("mounts", format!("{destination:?} is no place in a container"))),
    }
}

/// What propagates out of a mount must propagate out of the root that it is in.
fn propagate(spec: &mut Spec, mount: &Mount) {
    let wanted = mount.options.iter().rev().find_map(|option| match option.as_str() {
        "shared" | "rshared" => Some("rshared"),
        "slave" | "rslave" => Some("rslave"),
        "private" | "rprivate" => Some("rprivate"),
        _ => None,
    });
    let linux = spec.linux.get_or_insert_default();
    match (wanted, linux.rootfs_propagation.as_deref()) {
        (Some("rshared"), _) => linux.rootfs_propagation = Some("rshared".to_owned()),
        (Some("rslave"), Some("rshared" | "shared" | "rslave" | "slave")) => {}
        (Some("rslave"), _) => linux.rootfs_propagation = Some("rslave".to_owned()),
        _ => {}
    }
}
