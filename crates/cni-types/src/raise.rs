//! Raising 0.1.0 and 0.2.0 results (one `ip4`, one `ip6`) to the current form.

use crate::{CniResult, Dns, IpConfig, Result, Route, config::decode};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// The document of 0.1.0 and 0.2.0.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Legacy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip4: Option<LegacyIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip6: Option<LegacyIp>,
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub(crate) dns: Dns,
}

/// One family's address with its routes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LegacyIp {
    pub(crate) ip: IpNetwork,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<LegacyRoute>,
}

/// A route of 0.1.0 to 1.0.0.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LegacyRoute {
    pub(crate) dst: IpNetwork,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gw: Option<IpAddr>,
}

pub(crate) fn from_legacy(doc: &Value) -> Result<CniResult> {
    let legacy: Legacy = decode(doc)?;
    let mut result = CniResult { dns: legacy.dns, ..CniResult::default() };
    for side in [legacy.ip4, legacy.ip6].into_iter().flatten() {
        result.ips.push(IpConfig { interface: None, address: side.ip, gateway: side.gateway });
        result.routes.extend(side.routes.into_iter().map(|r| Route::new(r.dst, r.gw)));
    }
    Ok(result)
}
