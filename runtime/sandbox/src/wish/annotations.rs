//! What a pod says in annotations: those of Kubernetes, and our own where the node allows them.

use super::Extra;
use crate::settings::Networks;
use crate::{Error, Result};
use cni_types::{IfName, NetworkName};
use cri_api::v1::PodSandboxConfig;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Further networks: names separated by commas, each with `@interface` behind it if wished.
const NETWORKS: &str = "podloom.dev/networks";
/// Addresses for `eth0`: separated by commas, each with a prefix length.
const IPS: &str = "podloom.dev/ips";
/// The hardware address of `eth0`.
const MAC: &str = "podloom.dev/mac";

/// Limits of traffic, in bits each second (Kubernetes, "Network Plugins: support traffic shaping").
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// Slowest and fastest, in bits each second, as Kubernetes has them.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// How many bits may go at once: no limit that the kernel would round up.
const BURST: u64 = i32::MAX as u64;

/// The most networks of one pod.
const NETWORKS_MAX: usize = 32;

/// Networks beside the default one: those that every pod has, then those that it asks for.
///
/// # Errors
/// Networks that the node does not offer on request; names that are none.
pub(super) fn networks<'a>(
    config: &PodSandboxConfig,
    offer: &Networks,
    always: impl Iterator<Item = &'a String>,
) -> Result<Vec<Extra>> {
    let mut wanted: Vec<(&str, Option<&str>)> = always.map(|n| (n.as_str(), None)).collect();
    let asked = config.annotations.get(NETWORKS).map_or("", String::as_str);
    for entry in asked.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (name, ifname) = match entry.split_once('@') {
            Some((name, ifname)) => (name, Some(ifname)),
            None => (entry, None),
        };
        if !offer.on_request.iter().any(|offered| offered == name) {
            let cause = format!("network {name:?} is not offered to pods of this node");
            return Err(Error::invalid(format!("annotation {NETWORKS}"), cause)
                .with_advice("the node's configuration lists the networks that pods may ask for"));
        }
        wanted.push((name, ifname));
    }
    let mut taken = BTreeSet::from(["lo".to_owned(), "eth0".to_owned()]);
    let mut found = Vec::new();
    for (index, (network, ifname)) in wanted.into_iter().enumerate() {
        let ifname = ifname.map_or_else(|| format!("eth{}", index + 1), str::to_owned);
        let refuse = |e: cni_types::Error| Error::invalid(format!("network {network:?}"), e);
        NetworkName::parse(network).map_err(refuse)?;
        IfName::parse(&ifname).map_err(refuse)?;
        if !taken.insert(ifname.clone()) || index >= NETWORKS_MAX {
            let cause = format!("interface {ifname:?} is taken, or the pod has too many");
            return Err(Error::invalid(format!("network {network:?}"), cause));
        }
        found.push(Extra { network: network.to_owned(), ifname });
    }
    Ok(found)
}

/// The capability `bandwidth`, if there is a limit.
///
/// # Errors
/// What is no amount between 1k and 1P.
pub(super) fn bandwidth(config: &PodSandboxConfig) -> Result<Option<Value>> {
    let mut limits = Map::new();
    for (annotation, direction) in [(INGRESS, "ingress"), (EGRESS, "egress")] {
        let Some(text) = config.annotations.get(annotation) else { continue };
        let Some(rate) = quantity(text).filter(|rate| RATES.contains(rate)) else {
            let cause = format!("{text:?} is not a rate between 1k and 1P bits each second");
            return Err(Error::invalid(format!("annotation {annotation}"), cause));
        };
        limits.insert(format!("{direction}Rate"), Value::from(rate));
        limits.insert(format!("{direction}Burst"), Value::from(BURST));
    }
    Ok(Some(limits).filter(|limits| !limits.is_empty()).map(Value::Object))
}

/// A Kubernetes quantity that is whole: digits, a fraction if any, and a suffix.
fn quantity(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scale: u64 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if part.is_empty() {
        return Some(whole);
    }
    let digits = u32::try_from(part.len()).ok().filter(|digits| *digits <= 9)?;
    let part = part.parse::<u64>().ok()?;
    let fraction = u128::from(part) * u128::from(scale) / u128::from(10_u64.pow(digits));
    whole.checked_add(u64::try_from(fraction).ok()?)
}

/// The capabilities `ips` and `mac`.
///
/// # Errors
/// What are no addresses.
pub(super) fn addresses(config: &PodSandboxConfig, args: &mut Map<String, Value>) -> Result<()> {
    if let Some(text) = config.annotations.get(IPS) {
        let mut ips = Vec::new();
        for entry in text.split(',').map(str::trim) {
            let address = entry.split_once('/').map_or(entry, |(address, _)| address);
            let length = entry.split_once('/').is_none_or(|(_, l)| l.parse::<u8>().is_ok());
            if address.parse::<IpAddr>().is_err() || !length {
                let cause = format!("{entry:?} is not an IP address");
                return Err(Error::invalid(format!("annotation {IPS}"), cause));
            }
            ips.push(entry.to_owned());
        }
        args.insert("ips".to_owned(), json!(ips));
    }
    if let Some(mac) = config.annotations.get(MAC) {
        let parts: Vec<_> = mac.split(':').collect();
        let hex = |p: &&str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
        if parts.len() != 6 || !parts.iter().all(hex) {
            let cause = format!("{mac:?} is not a hardware address");
            return Err(Error::invalid(format!("annotation {MAC}"), cause));
        }
        args.insert("mac".to_owned(), Value::from(mac.clone()));
    }
    Ok(())
}
