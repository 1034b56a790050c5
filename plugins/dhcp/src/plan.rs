//! Pure: from a call to what is asked of the daemon, and from leases to a result.

use crate::config::Config;
use crate::lease::Lease;
use crate::protocol::{Key, Wish};
use cni_plugin::Call;
use cni_types::{CniResult, Dns, IpConfig};
use sha2::{Digest, Sha256};

/// The longest client identifier without its first byte: the length of an option is one byte.
const ID_MAX: usize = 254;

/// The attachment that a call is about.
pub(crate) fn key(call: &Call) -> Key {
    Key {
        network: call.conf.name.as_str().to_owned(),
        container_id: call.container_id.as_str().to_owned(),
        ifname: call.ifname.as_str().to_owned(),
    }
}

/// What to ask of servers for an attachment.
///
/// Both identities follow from the attachment alone, so that one that is asked for again gets the
/// same address. That of DHCPv4 is the reference's, so that either program goes on with the other's
/// leases.
pub(crate) fn wish(config: &Config, key: &Key) -> Wish {
    let text = format!("{}/{}/{}", key.container_id, key.network, key.ifname);
    let own = || {
        let text = text.as_bytes();
        [&[0], text.get(..ID_MAX).unwrap_or(text)].concat()
    };
    // A DUID of type 4, a UUID (RFC 6355).
    let digest = Sha256::digest(text.as_bytes());
    let duid = [0, 4].into_iter().chain(digest.iter().copied().take(16)).collect();
    Wish {
        families: config.families.clone(),
        client_id: config.client_id.clone().unwrap_or_else(own),
        duid,
        provide: config.provide.clone(),
        request: config.request.clone(),
        priority: config.priority,
    }
}

/// The result of ADD.
pub(crate) fn result(leases: &[Lease]) -> CniResult {
    let mut result = CniResult::default();
    for lease in leases {
        let (address, gateway) = (lease.address, lease.gateway);
        result.ips.push(IpConfig { interface: None, address, gateway });
        result.routes.extend(lease.routes.iter().cloned());
        join(&mut result.dns, &lease.dns);
    }
    result
}

fn join(dns: &mut Dns, more: &Dns) {
    let add = |list: &mut Vec<String>, items: &[String]| {
        for item in items {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
    };
    add(&mut dns.nameservers, &more.nameservers);
    add(&mut dns.search, &more.search);
    if dns.domain.is_empty() {
        dns.domain.clone_from(&more.domain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::lease::{Family, Server};
    use cni_types::{Route, Version};

    fn config() -> Config {
        Config {
            socket: "/run/cni/dhcp.sock".into(),
            families: vec![Family::Ipv4],
            provide: Vec::new(),
            client_id: None,
            request: vec![1, 3],
            priority: None,
        }
    }

    fn key(container_id: &str) -> Key {
        Key { network: "net".into(), container_id: container_id.into(), ifname: "eth0".into() }
    }

    fn lease(address: &str, gateway: Option<&str>) -> Lease {
        let gateway = gateway.map(|text| text.parse().expect("gateway"));
        Lease {
            address: address.parse().expect("address"),
            gateway,
            routes: gateway
                .map(|gw| Route::new("0.0.0.0/0".parse().expect("default"), Some(gw)))
                .into_iter()
                .collect(),
            mtu: None,
            dns: Dns { nameservers: vec!["10.1.0.53".into()], ..Dns::default() },
            server: Server::V6(vec![1]),
            renewal: Time::NEVER,
            rebinding: Time::NEVER,
            expiry: Time::NEVER,
        }
    }

    #[test]
    fn identities_follow_from_the_attachment() {
        let wish = super::wish(&config(), &key("pod"));
        assert_eq!(wish.client_id, b"\0pod/net/eth0");
        assert_eq!((wish.duid.len(), &wish.duid[..2]), (18, &[0, 4][..]));
        assert_ne!(super::wish(&config(), &key("pod2")).duid, wish.duid);
        let long = super::wish(&config(), &key(&"x".repeat(300)));
        assert_eq!(long.client_id.len(), 255);
        let own = Config { client_id: Some(b"me".to_vec()), ..config() };
        assert_eq!(super::wish(&own, &key("pod")).client_id, b"me");
    }

    #[test]
    fn the_result_is_golden() {
        let leases = [lease("10.1.0.9/24", Some("10.1.0.1")), lease("fd00::9/128", None)];
        let document = result(&leases).to_value(Version::V1_1_0).expect("a document");
        let golden = include_str!("../tests/golden/dual.json");
        assert_eq!(format!("{document:#}\n"), golden);
    }
}
