//! What an attachment is to get: pure functions.

use crate::config::Config;
use cni_types::{CniResult, IpConfig};

/// The result of ADD.
pub(crate) fn result(config: &Config) -> CniResult {
    let ips = config.addresses.iter().map(|address| IpConfig {
        interface: None,
        address: address.net,
        gateway: address.gateway,
    });
    CniResult {
        interfaces: Vec::new(),
        ips: ips.collect(),
        routes: config.routes.clone(),
        dns: config.dns.clone(),
    }
}
