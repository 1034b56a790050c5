//! Lowering a result to the form of an older version of the specification.

use crate::raise::{Legacy, LegacyIp, LegacyRoute};
use crate::{CniResult, Code, Error, Result, Route, Version};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) fn to_version(result: &CniResult, version: Version) -> Result<Value> {
    let mut doc = if version <= Version::V0_2_0 {
        encode(&legacy(result, version)?)?
    } else {
        lists(result, version)?
    };
    doc["cniVersion"] = Value::from(version.as_str());
    Ok(doc)
}

fn encode<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Error::new(Code::Decode, format!("result: {e}")))
}

/// 0.3.0 to 1.1.0: the same lists, with fewer fields the older the version.
fn lists(result: &CniResult, version: Version) -> Result<Value> {
    let mut result = result.clone();
    if version < Version::V1_1_0 {
        for interface in &mut result.interfaces {
            interface.mtu = None;
            interface.socket_path.clear();
            interface.pci_id.clear();
        }
        for route in &mut result.routes {
            *route = Route::new(route.dst, route.gw);
        }
    }
    let mut doc = encode(&result)?;
    if version < Version::V1_0_0 {
        let entries = doc.get_mut("ips").and_then(Value::as_array_mut);
        for (entry, ip) in entries.into_iter().flatten().zip(&result.ips) {
            entry["version"] = Value::from(if ip.address.is_ipv4() { "4" } else { "6" });
        }
    }
    if doc.get("dns").is_none() {
        doc["dns"] = json!({});
    }
    Ok(doc)
}

/// 0.1.0 and 0.2.0: the first address of each family, routes by family.
fn legacy(result: &CniResult, version: Version) -> Result<Legacy> {
    let side = |v4: bool| {
        let ip = result.ips.iter().find(|ip| ip.address.is_ipv4() == v4)?;
        let routes = result.routes.iter().filter(|r| r.dst.is_ipv4() == v4);
        Some(LegacyIp {
            ip: ip.address,
            gateway: ip.gateway,
            routes: routes.map(|r| LegacyRoute { dst: r.dst, gw: r.gw }).collect(),
        })
    };
    let legacy = Legacy { ip4: side(true), ip6: side(false), dns: result.dns.clone() };
    if legacy.ip4.is_none() && legacy.ip6.is_none() {
        return Err(Error::new(
            Code::IncompatibleVersion,
            format!("result: cannot be written as CNI {version}, which needs an address"),
        )
        .with_details("use cniVersion 0.3.0 or newer for interfaces without addresses"));
    }
    Ok(legacy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ALL_VERSIONS, Interface, IpConfig};

    fn full() -> CniResult {
        let route = Route {
            mtu: Some(1400),
            advmss: Some(1360),
            priority: Some(5),
            table: Some(100),
            scope: Some(253),
            ..Route::new("0.0.0.0/0".parse().expect("net"), None)
        };
        CniResult {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
                mtu: Some(1450),
                sandbox: "/run/netns/a".into(),
                ..Interface::default()
            }],
            ips: vec![
                IpConfig {
                    interface: Some(0),
                    address: "10.0.0.5/24".parse().expect("net"),
                    gateway: "10.0.0.1".parse().ok(),
                },
                IpConfig {
                    interface: Some(0),
                    address: "fd00::5/64".parse().expect("net"),
                    gateway: None,
                },
            ],
            routes: vec![route, Route::new("::/0".parse().expect("net"), "fd00::1".parse().ok())],
            ..CniResult::default()
        }
    }

    #[test]
    fn newest_form_is_lossless() {
        let doc = full().to_value(Version::V1_1_0).expect("doc");
        assert_eq!(CniResult::from_value(&doc, Version::V0_1_0).expect("result"), full());
    }

    #[test]
    fn newer_fields_do_not_leak_into_older_versions() {
        for version in [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0, Version::V1_0_0] {
            let doc = full().to_value(version).expect("doc");
            let text = doc.to_string();
            for key in ["mtu", "advmss", "priority", "table", "scope"] {
                assert!(!text.contains(key), "{key} in {version}: {text}");
            }
            assert_eq!(doc["ips"][0].get("version").is_some(), version < Version::V1_0_0);
            assert_eq!(doc["cniVersion"], version.as_str());
        }
    }

    #[test]
    fn oldest_form_keeps_the_first_of_each_family() {
        for version in [Version::V0_1_0, Version::V0_2_0] {
            let doc = full().to_value(version).expect("doc");
            assert_eq!(doc["ip4"]["ip"], "10.0.0.5/24");
            assert_eq!(doc["ip4"]["gateway"], "10.0.0.1");
            assert_eq!(doc["ip4"]["routes"], json!([{"dst": "0.0.0.0/0"}]));
            assert_eq!(doc["ip6"]["ip"], "fd00::5/64");
            let back = CniResult::from_value(&doc, Version::V1_1_0).expect("back");
            assert_eq!(back.ips.len(), 2);
            assert_eq!(back.routes.len(), 2);
        }
        let error = CniResult::default().to_value(Version::V0_2_0).expect_err("no address");
        assert_eq!(error.code, Code::IncompatibleVersion);
    }

    #[test]
    fn every_version_reads_back_its_own_documents() {
        for version in ALL_VERSIONS {
            let doc = full().to_value(version).expect("doc");
            let raised = CniResult::from_value(&doc, Version::V1_1_0).expect("raised");
            assert_eq!(raised.to_value(version).expect("again"), doc);
        }
    }
}
