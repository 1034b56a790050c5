//! The delegate's configuration, from this plugin's own and what flanneld tells.

use crate::config::Config;
use crate::subnet::Node;
use cni_types::NetConf;
use serde_json::{Map, Value, json};

/// The configuration that the delegate gets.
///
/// What the operator has written for the delegate stands; the IPAM plugin's ranges are always those
/// of this node.
pub(crate) fn delegate(conf: &NetConf, config: &Config, node: &Node) -> Value {
    let mut document = config.delegate.clone();
    document.insert("cniVersion".into(), conf.version.as_str().into());
    document.insert("name".into(), conf.name.as_str().into());
    let bridge = config.plugin.as_str() == "bridge";
    let defaults = [
        ("type", Some(config.plugin.as_str().into())),
        ("ipMasq", Some((!node.masquerades).into())),
        ("mtu", node.mtu.map(Value::from)),
        ("isGateway", bridge.then_some(Value::Bool(true))),
    ];
    for (key, value) in defaults {
        if let Some(value) = value {
            document.entry(key).or_insert(value);
        }
    }
    document.insert("ipam".into(), Value::Object(ipam(config, node)));
    Value::Object(document)
}

fn ipam(config: &Config, node: &Node) -> Map<String, Value> {
    let mut ipam = config.ipam.clone();
    let ranges: Vec<_> =
        node.subnets.iter().map(|subnet| json!([{ "subnet": subnet.to_string() }])).collect();
    let to_networks = node.networks.iter().map(|network| json!({ "dst": network.to_string() }));
    let routes: Vec<_> = config.routes.iter().cloned().chain(to_networks).collect();
    ipam.insert("type".into(), config.ipam_type.as_str().into());
    ipam.insert("routes".into(), routes.into());
    if ranges.is_empty() {
        ipam.remove("ranges");
    } else {
        ipam.insert("ranges".into(), ranges.into());
    }
    ipam
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(keys: Value, node: &Node) -> Value {
        let mut keys = keys;
        for (key, value) in [("name", "cbr0"), ("type", "flannel"), ("cniVersion", "1.0.0")] {
            keys[key] = value.into();
        }
        let conf = NetConf::from_value(keys).expect("configuration");
        delegate(&conf, &Config::read(&conf).expect("valid"), node)
    }

    fn node() -> Node {
        let nets = |texts: [&str; 2]| texts.map(|text| text.parse().expect("network")).to_vec();
        Node {
            networks: nets(["10.244.0.0/16", "fd00:244::/56"]),
            subnets: nets(["10.244.1.0/24", "fd00:244:0:1::/64"]),
            mtu: Some(1450),
            masquerades: true,
        }
    }

    #[test]
    fn what_is_rendered_is_golden() {
        let golden: Vec<Value> =
            serde_json::from_str(include_str!("../tests/golden/delegate.json")).expect("JSON");
        assert_eq!(rendered(json!({}), &node()), golden[0]);
        let keys = json!({"delegate": {"type": "ptp", "mtu": 1300, "ipMasqBackend": "nftables"},
            "runtimeConfig": {"mac": "02:00:00:00:00:01"},
            "ipam": {"dataDir": "/x", "ranges": [], "routes": [{"dst": "0.0.0.0/0"}]}});
        let node = Node { masquerades: false, ..node() };
        assert_eq!(rendered(keys, &node), golden[1]);
    }

    #[test]
    fn keys_of_the_delegate_stand() {
        let keys = json!({"delegate": {"isGateway": false, "ipMasq": true, "hairpinMode": true}});
        let document = rendered(keys, &node());
        assert_eq!((&document["isGateway"], &document["ipMasq"]), (&json!(false), &json!(true)));
        assert_eq!(document["hairpinMode"], true);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let document = rendered(json!({}), &Node::default());
        assert_eq!(document.get("mtu"), None);
        assert_eq!(document["ipam"].get("ranges"), None);
        assert_eq!(document["ipMasq"], true);
    }
}
