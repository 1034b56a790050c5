//! Network devices of the host that move into the container (config-linux.md, Network Devices).

use crate::{Error, Kind, Result};

/// Moves devices into the network namespace of a process.
pub(crate) fn move_all(devices: &[(String, String)], _pid: i32) -> Result<()> {
    match devices.first() {
        None => Ok(()),
        Some((host, _)) => {
            let cause = "moving network devices is not supported by this runtime";
            Err(Error::new(Kind::Unsupported, format!("linux.netDevices {host:?}"), cause))
        }
    }
}
