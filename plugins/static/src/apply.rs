//! CHECK: what ADD reported, beside what the configuration says.

use cni_plugin::verify::drift;
use cni_types::{CniResult, Result};

/// Compares the wished result with the attachment's; other plugins may have added to that.
pub(crate) fn check(wished: &CniResult, attached: &CniResult) -> Result<()> {
    for ip in &wished.ips {
        let Some(found) = attached.ips.iter().find(|other| other.address == ip.address) else {
            return Err(drift(
                ip.address,
                "is configured, and not among the addresses of prevResult",
            ));
        };
        if ip.gateway.is_some() && found.gateway != ip.gateway {
            return Err(drift(ip.address, "has another gateway in prevResult than is configured"));
        }
    }
    Ok(())
}
