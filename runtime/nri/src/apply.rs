//! From what all plugins want together to the configuration of the container.

mod limits;
mod linux;
mod mounts;

use crate::merge::unmarked;
use crate::v1alpha1::{ContainerAdjustment, Hook, Hooks, KeyValue, PosixRlimit};
use container::{Error, Kind, Result};
use runtime_spec::{Process, Rlimit, Spec};
use std::path::PathBuf;

/// What a plugin wants and this runtime cannot do.
fn unfit(field: &str, cause: impl std::fmt::Display) -> Error {
    let e = Error::new(Kind::Invalid, format!("adjustment of {field}"), cause);
    e.with_advice("see what the node's NRI plugins do")
}

/// Adjusts the configuration. Blocks: files of vendors are read for devices by name.
///
/// # Errors
/// [`Kind::Invalid`] for what is no such value, or cannot be on this node.
pub(crate) fn apply(
    spec: &mut Spec,
    adjust: ContainerAdjustment,
    cdi_dirs: &[PathBuf],
) -> Result<()> {
    for (key, value) in adjust.annotations {
        match unmarked(&key) {
            (key, true) => drop(spec.annotations.remove(key)),
            _ => drop(spec.annotations.insert(key, value)),
        }
    }
    let process = spec.process.get_or_insert_default();
    variables(process, adjust.env)?;
    if !adjust.args.is_empty() {
        process.args = adjust.args;
    }
    if let Some(hooks) = adjust.hooks {
        add_hooks(spec.hooks.get_or_insert_default(), hooks)?;
    }
    let names: Vec<_> = adjust.cdi_devices.into_iter().map(|device| device.name).collect();
    container::add_named_devices(spec, cdi_dirs, &names)?;
    if let Some(asked) = adjust.linux {
        linux::apply(spec, asked)?;
    }
    mounts::apply(spec, adjust.mounts)?;
    rlimits(spec.process.get_or_insert_default(), adjust.rlimits)
}

fn variables(process: &mut Process, asked: Vec<KeyValue>) -> Result<()> {
    for KeyValue { key, value } in asked {
        let (name, removed) = unmarked(&key);
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(unfit("env", format!("{key:?} is no name of a variable with a value")));
        }
        let is_this = |old: &String| old.split('=').next() == Some(name);
        match (process.env.iter().position(is_this), removed) {
            (Some(at), true) => drop(process.env.remove(at)),
            (Some(at), false) => process.env[at] = format!("{name}={value}"),
            (None, true) => {}
            (None, false) => process.env.push(format!("{name}={value}")),
        }
    }
    Ok(())
}

fn add_hooks(hooks: &mut runtime_spec::Hooks, asked: Hooks) -> Result<()> {
    for (list, more) in [
        (&mut hooks.prestart, asked.prestart),
        (&mut hooks.create_runtime, asked.create_runtime),
        (&mut hooks.create_container, asked.create_container),
        (&mut hooks.start_container, asked.start_container),
        (&mut hooks.poststart, asked.poststart),
        (&mut hooks.poststop, asked.poststop),
    ] {
        for Hook { path, args, env, timeout } in more {
            if !path.starts_with('/') {
                return Err(unfit("hooks", format!("{path:?} is not absolute")));
            }
            let timeout = timeout.map(|timeout| timeout.value).filter(|seconds| *seconds > 0);
            list.push(runtime_spec::Hook { path: path.into(), args, env, timeout });
        }
    }
    Ok(())
}

fn rlimits(process: &mut Process, asked: Vec<PosixRlimit>) -> Result<()> {
    for PosixRlimit { r#type: kind, hard, soft } in asked {
        if !kind.starts_with("RLIMIT_") || soft > hard {
            return Err(unfit("rlimits", format!("{kind:?} of {soft} and {hard}")));
        }
        process.rlimits.retain(|old| old.kind != kind);
        process.rlimits.push(Rlimit { kind, soft, hard });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
