//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Args, Code, Dns, Error, NetConf, Result};
use netlink::{Mac, MacVlanKind};
use serde::Deserialize;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    master: String,
    mode: String,
    mtu: u32,
    mac: String,
    link_in_container: bool,
    bcqueuelen: u32,
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
    /// The link below; that of the default route where empty.
    pub(crate) master: String,
    /// Whether the link below is in the pod.
    pub(crate) master_in_pod: bool,
    /// Whom pods on one link speak with.
    pub(crate) mode: MacVlanKind,
    /// In bytes; 0 for that of the link below.
    pub(crate) mtu: u32,
    /// Hardware address; random where absent.
    pub(crate) mac: Option<Mac>,
    /// Length of the queue for broadcasts, in packets; the kernel's choice where absent.
    pub(crate) broadcast_queue: Option<u32>,
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
        let mtu = podlink::configured_mtu(wire.mtu)?;
        Ok(Config {
            mode: mode(&wire.mode)?,
            mac: mac(&wire, args)?,
            master: wire.master,
            master_in_pod: wire.link_in_container,
            mtu,
            broadcast_queue: Some(wire.bcqueuelen).filter(|length| *length != 0),
            dns: wire.dns,
        })
    }
}

fn mode(text: &str) -> Result<MacVlanKind> {
    Ok(match text {
        "" | "bridge" => MacVlanKind::Bridge,
        "private" => MacVlanKind::Private,
        "vepa" => MacVlanKind::Vepa,
        "passthru" => MacVlanKind::Passthrough,
        _ => {
            let cause = format!("mode {text:?}: want bridge, private, vepa or passthru");
            return Err(Error::new(Code::InvalidConfig, cause));
        }
    })
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
        for (key, value) in [("name", "net"), ("type", "macvlan"), ("cniVersion", "1.1.0")] {
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
    fn defaults_are_those_of_the_reference() {
        let config = read(json!({"unknown": 1})).expect("valid");
        assert_eq!((config.master.as_str(), config.mode), ("", MacVlanKind::Bridge));
        assert_eq!((config.mtu, config.mac, config.broadcast_queue), (0, None, None));
        assert!(!config.master_in_pod && config.dns.is_empty());
    }

    #[test]
    fn every_key_is_read() {
        let config = read(json!({"master": "eth7", "mode": "passthru", "mtu": 1400,
            "linkInContainer": true, "bcqueuelen": 500, "dns": {"nameservers": ["10.1.0.1"]}}))
        .expect("valid");
        assert_eq!((config.master.as_str(), config.mode), ("eth7", MacVlanKind::Passthrough));
        assert_eq!((config.mtu, config.broadcast_queue), (1400, Some(500)));
        assert!(config.master_in_pod && !config.dns.is_empty());
    }

    #[test]
    fn the_runtime_has_the_last_word_on_the_address() {
        let shown = |keys: Value, args: &str| {
            let args = Args::parse(args).expect("arguments");
            Config::read(&conf(keys), &args).expect("valid").mac.expect("mac").to_string()
        };
        let own = json!({"mac": "02:00:00:00:00:01"});
        assert_eq!(shown(own.clone(), ""), "02:00:00:00:00:01");
        assert_eq!(shown(own, "MAC=02:00:00:00:00:02"), "02:00:00:00:00:02");
        let args = json!({"args": {"cni": {"mac": "02:00:00:00:00:03"}}});
        assert_eq!(shown(args, "MAC=02:00:00:00:00:02"), "02:00:00:00:00:03");
        let both = json!({"args": {"cni": {"mac": "02:00:00:00:00:03"}},
            "runtimeConfig": {"mac": "02:00:00:00:00:04"}});
        assert_eq!(shown(both, ""), "02:00:00:00:00:04");
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({"mtu": 67}), "mtu 67: ", Code::InvalidConfig),
            (json!({"mtu": "x"}), "mtu: ", Code::Decode),
            (json!({"mode": "l2"}), "mode \"l2\": ", Code::InvalidConfig),
            (json!({"mac": "x"}), "mac: ", Code::InvalidConfig),
            (json!({"mac": "01:00:00:00:00:01"}), "mac: ", Code::InvalidConfig),
            (json!({"master": 5}), "master: ", Code::Decode),
        ] {
            let error = read(keys).expect_err(start);
            assert_eq!(error.code, code);
            assert!(error.msg.starts_with(start), "{error}");
        }
        let args = Args::parse("MAC=x").expect("arguments");
        let error = Config::read(&conf(json!({})), &args).expect_err("address");
        assert_eq!(error.code, Code::InvalidEnvironment);
    }
}
