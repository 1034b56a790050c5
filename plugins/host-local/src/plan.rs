//! What an attachment is to get: pure functions.

use crate::config::Config;
use crate::range::{Bits, RangeSet, address, bits};
use cni_types::{CniResult, Code, Error, IpConfig, Result};
use ipnetwork::IpNetwork;

/// For each range set the address that was asked for, if one was.
///
/// # Errors
/// [`Code::InvalidConfig`] for an address that no set offers, or a second one for a set.
pub(crate) fn requests(sets: &[RangeSet], requested: &[Bits]) -> Result<Vec<Option<Bits>>> {
    let refused = |ip: Bits, cause: String| {
        let subject = format!("requested address {}: {cause}", address(ip));
        let shown: Vec<_> = sets.iter().map(ToString::to_string).collect();
        Err(Error::new(Code::InvalidConfig, subject)
            .with_details(format!("the range sets are {}", shown.join(" and "))))
    };
    let mut wishes: Vec<Option<Bits>> = vec![None; sets.len()];
    for ip in requested.iter().copied() {
        let Some(set) = sets.iter().position(|set| set.spans(ip)) else {
            return refused(ip, "is in no configured range".to_owned());
        };
        if !sets[set].offers(ip) {
            return refused(ip, "is the gateway of a subnet".to_owned());
        }
        if let Some(other) = wishes[set].replace(ip) {
            return refused(
                ip,
                format!("is in the same range set as {}, which gives one", address(other)),
            );
        }
    }
    Ok(wishes)
}

/// The result of ADD without resolver settings: one address of each set.
///
/// # Errors
/// [`Code::Internal`] for an address outside its set, which would be a defect.
pub(crate) fn result(config: &Config, given: &[Bits]) -> Result<CniResult> {
    let mut ips = Vec::with_capacity(given.len());
    for (set, ip) in config.sets.iter().zip(given.iter().copied()) {
        let range = set.range_of(ip);
        let net = range.and_then(|r| IpNetwork::new(address(ip), r.prefix()).ok());
        let (Some(range), Some(net)) = (range, net) else {
            return Err(Error::new(
                Code::Internal,
                format!("address {}: was taken from outside of {set}", address(ip)),
            ));
        };
        ips.push(IpConfig { interface: None, address: net, gateway: Some(range.gateway()) });
    }
    Ok(CniResult { ips, routes: config.routes.clone(), ..CniResult::default() })
}

/// The addresses of a result, and whether each is of a configured range, so that it must be
/// leased; others may be another plugin's.
pub(crate) fn expected(sets: &[RangeSet], result: &CniResult) -> Vec<(Bits, bool)> {
    let ips = result.ips.iter().map(|ip| bits(ip.address.ip()));
    ips.map(|ip| (ip, sets.iter().any(|set| set.spans(ip)))).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
