//! kill, delete, pause, resume, update.

use super::Call;
use super::flags::{Flag, Given, switch_or};
use super::resources;
use oci::{Kind, Result, signals};

pub(super) fn kill(call: &Call) -> Result<u8> {
    const FLAGS: [Flag; 1] = [switch_or("all", 'a')];
    let given = Given::read(&FLAGS, &call.args, true)?;
    let (name, signal) = match given.rest.as_slice() {
        [name] => (name, "SIGTERM"),
        _ => {
            let [_, signal] = given.words("kill ID [SIGNAL]")?;
            (&given.rest[0], signal)
        }
    };
    let (container, signal) = (call.load(name)?, signals::number(signal)?);
    if given.has("all") {
        container.kill_all(signal)?;
    } else {
        container.kill(signal)?;
    }
    Ok(0)
}

pub(super) fn delete(call: &Call) -> Result<u8> {
    const FLAGS: [Flag; 1] = [switch_or("force", 'f')];
    let given = Given::read(&FLAGS, &call.args, true)?;
    let [name] = given.words("delete ID")?;
    let mut tell = |error: oci::Error| call.log.warn(&error.to_string());
    call.runtime.delete_telling(&call.id(name)?, given.has("force"), &mut tell)?;
    Ok(0)
}

pub(super) fn pause(call: &Call) -> Result<u8> {
    let given = Given::read(&[], &call.args, true)?;
    let [name] = given.words("pause ID")?;
    call.load(name)?.pause()?;
    Ok(0)
}

pub(super) fn resume(call: &Call) -> Result<u8> {
    let given = Given::read(&[], &call.args, true)?;
    let [name] = given.words("resume ID")?;
    call.load(name)?.resume()?;
    Ok(0)
}

pub(super) fn update(call: &Call) -> Result<u8> {
    let given = Given::read(&resources::FLAGS, &call.args, true)?;
    let [name] = given.words("update ID")?;
    let container = call.load(name)?;
    let wished = resources::read(&given)?;
    if container.pid().is_none() {
        return Err(oci::Error::new(Kind::State, name, "container not running"));
    }
    container.update(&wished)?;
    Ok(0)
}
