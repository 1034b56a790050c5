//! The addresses that runtimes on this node know.

use serde_json::Value;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Overrides `/var/lib/cni`.
const CACHE_DIR: &str = "PODLOOM_CACHE_DIR";

/// All addresses in the results of the runtimes' caches; `None` where there is none, or not all of it
/// can be read: then nothing is known of any address. Programs that run plugins for a runtime, as
/// multus does, have caches of their own beside the runtime's.
pub(crate) fn addresses() -> Option<Vec<IpAddr>> {
    let base = std::env::var_os(CACHE_DIR).filter(|dir| !dir.is_empty());
    let base = base.map_or_else(|| PathBuf::from("/var/lib/cni"), PathBuf::from);
    let mut all = addresses_in(&base.join("results"))?;
    for entry in std::fs::read_dir(base).ok()? {
        let dir = entry.ok()?.path().join("results");
        if dir.is_dir() {
            all.extend(addresses_in(&dir)?);
        }
    }
    Some(all)
}

fn addresses_in(results: &Path) -> Option<Vec<IpAddr>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(results).ok()? {
        let text = match std::fs::read(entry.ok()?.path()) {
            // Its attachment ended while this was looking.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.ok()?,
        };
        all.extend(addresses_of(&serde_json::from_slice(&text).ok()?)?);
    }
    Some(all)
}

/// The addresses of a record: of its `result`, or of itself where it is a bare result.
fn addresses_of(record: &Value) -> Option<Vec<IpAddr>> {
    let result = record.get("result").unwrap_or(record);
    let mut all = Vec::new();
    let listed = result.get("ips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // Results before 0.3.0 have one of each family.
    let old = [("ip4", "ip"), ("ip6", "ip")].map(|(family, key)| result.get(family)?.get(key));
    let addresses =
        listed.iter().map(|ip| ip.get("address")).chain(old.into_iter().filter(Option::is_some));
    for address in addresses {
        let text = address.and_then(Value::as_str)?;
        let ip = text.split('/').next().unwrap_or_default();
        all.push(ip.parse().ok()?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_of_a_record_is_read() {
        let ips = |record: Value| {
            let found = addresses_of(&record)?;
            Some(found.iter().map(IpAddr::to_string).collect::<Vec<_>>())
        };
        let list = json!({"ips": [{"address": "10.0.0.5/24"}, {"address": "fd00::5/64"}]});
        let both = Some(vec!["10.0.0.5".to_owned(), "fd00::5".to_owned()]);
        assert_eq!(ips(json!({"kind": "cniCacheV1", "result": list})), both);
        assert_eq!(ips(list), both);
        let old = json!({"ip4": {"ip": "10.0.0.5/24"}, "ip6": {"ip": "fd00::5/64"}});
        assert_eq!(ips(json!({"result": old})), both);
        assert_eq!(ips(json!({"result": {}})), Some(Vec::new()));
        assert_eq!(ips(json!({"ips": [{"address": 5}]})), None);
        assert_eq!(ips(json!({"ips": [{}]})), None);
    }
}
