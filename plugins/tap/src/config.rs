//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Args, Code, Dns, Error, NetConf, Result};
use netlink::Mac;
use serde::Deserialize;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    multi_queue: bool,
    mtu: u32,
    mac: String,
    owner: Option<u32>,
    group: Option<u32>,
    selinux_context: String,
    bridge: String,
    dns: Dns,
    args: WireArgs,
    runtime_config: WireMac,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireArgs {
    cni: WireMac,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireMac {
    mac: String,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Whether several descriptors may be open on it, each a queue.
    pub(crate) multi_queue: bool,
    /// In bytes; the kernel's choice where absent.
    pub(crate) mtu: Option<u32>,
    /// Hardware address; random where absent.
    pub(crate) mac: Option<Mac>,
    /// User ID that may open it beside root.
    pub(crate) owner: Option<u32>,
    /// Group ID that may open it beside root.
    pub(crate) group: Option<u32>,
    /// `SELinux` context in which it is made; the plugin's where empty.
    pub(crate) selinux_context: String,
    /// A bridge in the pod that it joins; none where empty.
    pub(crate) bridge: String,
    /// Resolver settings that replace those of the IPAM plugin; may be empty.
    pub(crate) dns: Dns,
}

impl Config {
    /// Reads `conf`.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`]; [`Code::InvalidEnvironment`].
    pub(crate) fn read(conf: &NetConf, args: &Args) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        if !matches!(wire.mtu, 0 | 68..=65521) {
            let cause = format!("mtu {}: want 68 to 65521 bytes, or 0 for the default", wire.mtu);
            return Err(Error::new(Code::InvalidConfig, cause));
        }
        for (key, id) in [("owner", wire.owner), ("group", wire.group)] {
            // (uid_t)-1 means "nobody in particular" to the kernel, and lifts the restriction.
            if id == Some(u32::MAX) {
                return Err(Error::new(
                    Code::InvalidConfig,
                    format!("{key} {}: is no ID", u32::MAX),
                ));
            }
        }
        if wire.selinux_context.contains('\0') {
            let cause = "selinuxContext: has a zero byte";
            return Err(Error::new(Code::InvalidConfig, cause));
        }
        Ok(Config {
            mac: mac(&wire, args)?,
            multi_queue: wire.multi_queue,
            mtu: Some(wire.mtu).filter(|mtu| *mtu != 0),
            owner: wire.owner,
            group: wire.group,
            selinux_context: wire.selinux_context,
            bridge: wire.bridge,
            dns: wire.dns,
        })
    }
}

fn mac(wire: &Wire, args: &Args) -> Result<Option<Mac>> {
    let (runtime, cni_args) = (&wire.runtime_config.mac, &wire.args.cni.mac);
    podlink::AskedMac { runtime, cni_args, own: &wire.mac }.read(args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "tap"), ("cniVersion", "1.1.0")] {
            keys[key] = value.into();
        }
        NetConf::from_value(keys).expect("configuration")
    }

    fn read(keys: Value) -> Result<Config> {
        Config::read(&conf(keys), &Args::default())
    }

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
        let mut seen = 0;
        for block in blocks {
            let document: Value = serde_json::from_str(block).expect("JSON");
            Config::read(&conf(document), &Args::default()).expect("valid");
            seen += 1;
        }
        assert!(seen > 0);
    }

    #[test]
    fn every_key_is_read() {
        let config = read(json!({"multiQueue": true, "mtu": 1400, "mac": "02:00:00:00:00:01",
            "owner": 0, "group": 107, "selinuxContext": "a:b:c:s0", "bridge": "br0",
            "dns": {"nameservers": ["10.1.0.1"]}}))
        .expect("valid");
        assert_eq!((config.multi_queue, config.mtu), (true, Some(1400)));
        assert_eq!((config.owner, config.group), (Some(0), Some(107)));
        assert_eq!((config.selinux_context.as_str(), config.bridge.as_str()), ("a:b:c:s0", "br0"));
        assert!(config.mac.is_some() && !config.dns.is_empty());
        let least = read(json!({})).expect("valid");
        assert_eq!((least.owner, least.group, least.mtu, least.mac), (None, None, None, None));
    }

    #[test]
    fn the_runtime_has_the_last_word_on_the_address() {
        let args = Args::parse("MAC=02:00:00:00:00:02").expect("arguments");
        let shown = |keys: Value| {
            Config::read(&conf(keys), &args).expect("valid").mac.expect("mac").to_string()
        };
        assert_eq!(shown(json!({"mac": "02:00:00:00:00:01"})), "02:00:00:00:00:02");
        let last = json!({"runtimeConfig": {"mac": "02:00:00:00:00:04"}});
        assert_eq!(shown(last), "02:00:00:00:00:04");
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({"mtu": 67}), "mtu 67: ", Code::InvalidConfig),
            (json!({"mtu": 65522}), "mtu 65522: ", Code::InvalidConfig),
            (json!({"mac": "x"}), "mac: ", Code::InvalidConfig),
            (json!({"owner": 4_294_967_295_u32}), "owner ", Code::InvalidConfig),
            (json!({"owner": -1}), "owner: ", Code::Decode),
            (json!({"multiQueue": "yes"}), "multiQueue: ", Code::Decode),
            (json!({"bridge": 5}), "bridge: ", Code::Decode),
        ] {
            let error = read(keys).expect_err(start);
            assert_eq!(error.code, code);
            assert!(error.msg.starts_with(start), "{error}");
        }
    }
}
