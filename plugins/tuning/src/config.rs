//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_plugin::Call;
use cni_types::{Args, Code, Error, NetConf, Result};
use netlink::Mac;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// Where the reference plugin keeps what was there before, too.
const DATA_DIR: &str = "/run/cni/tuning";

/// The keys of the configuration, as written; those of [`Keys`] stand beside them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    data_dir: String,
    args: WireArgs,
    runtime_config: WireMac,
}

/// The keys that `args.cni` may have too, with which they win.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    sysctl: BTreeMap<String, String>,
    mac: Option<String>,
    promisc: Option<bool>,
    mtu: Option<u32>,
    #[serde(rename = "txQLen")]
    tx_q_len: Option<u32>,
    allmulti: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireArgs {
    cni: Keys,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireMac {
    mac: String,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Directory of the files with what was there before.
    pub(crate) data_dir: PathBuf,
    /// Sysctls to be set, in the order of their keys.
    pub(crate) sysctls: Vec<Setting>,
    /// Hardware address to be given to the interface.
    pub(crate) mac: Option<Mac>,
    /// Whether the interface is to take all packets; false leaves it alone.
    pub(crate) promiscuous: bool,
    /// In bytes.
    pub(crate) mtu: Option<u32>,
    /// Length of the queue for what the interface sends, in packets.
    pub(crate) queue_length: Option<u32>,
    /// Whether the interface is to take all multicast packets, or not.
    pub(crate) all_multicast: Option<bool>,
}

/// A sysctl to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The key as the configuration has it.
    pub(crate) given: String,
    /// The key with slashes; it may still have the place holder for the interface.
    pub(crate) key: String,
    /// What is to be written.
    pub(crate) value: String,
}

/// Stands for the name of the interface in a key.
const PLACE_HOLDER: &str = "IFNAME";

impl Setting {
    /// The key with slashes for the interface `ifname`.
    pub(crate) fn key_for(&self, ifname: &str) -> String {
        self.key.replacen(PLACE_HOLDER, ifname, 1)
    }
}

impl Config {
    /// Reads the configuration of a call.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`]; [`Code::InvalidEnvironment`].
    pub(crate) fn of(call: &Call) -> Result<Config> {
        let config = Config::read(&call.conf, &call.args)?;
        if !config.sysctls.is_empty() {
            no_key_twice(&call.input)?;
        }
        Ok(config)
    }

    /// Reads `conf`, whose document no longer tells whether a key was there twice.
    ///
    /// # Errors
    /// As [`Config::of`].
    pub(crate) fn read(conf: &NetConf, args: &Args) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let (own, over): (Keys, Keys) = (conf.decode()?, wire.args.cni);
        let mut wanted = own.sysctl;
        wanted.extend(over.sysctl);
        Ok(Config {
            data_dir: data_dir(&wire.data_dir)?,
            sysctls: settings(wanted)?,
            mac: mac(&[
                ("args.cni.mac", over.mac.as_deref()),
                ("runtimeConfig.mac", Some(&wire.runtime_config.mac)),
                ("CNI_ARGS: MAC", args.get("MAC")),
                ("mac", own.mac.as_deref()),
            ])?,
            promiscuous: over.promisc.or(own.promisc).unwrap_or(false),
            mtu: mtu(over.mtu.or(own.mtu))?,
            queue_length: over.tx_q_len.or(own.tx_q_len),
            all_multicast: over.allmulti.or(own.allmulti),
        })
    }

    /// Whether the interface itself is to be changed.
    pub(crate) fn tunes_link(&self) -> bool {
        self.mac.is_some()
            || self.promiscuous
            || self.mtu.is_some()
            || self.queue_length.is_some()
            || self.all_multicast.is_some()
    }
}

/// The directory of `conf`, however wrong its other keys are: DEL and GC must not fail because a
/// check has become stricter.
pub(crate) fn readable_data_dir(conf: &NetConf) -> PathBuf {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Only {
        data_dir: Value,
    }
    let only: Only = conf.decode().unwrap_or_default();
    data_dir(only.data_dir.as_str().unwrap_or_default()).unwrap_or_else(|_| DATA_DIR.into())
}

fn data_dir(text: &str) -> Result<PathBuf> {
    match text {
        "" => Ok(DATA_DIR.into()),
        _ if text.starts_with('/') => Ok(text.into()),
        _ => {
            let cause = format!("dataDir: {text:?} is not an absolute path");
            Err(Error::new(Code::InvalidConfig, cause))
        }
    }
}

fn settings(wanted: BTreeMap<String, String>) -> Result<Vec<Setting>> {
    let mut all: Vec<Setting> = Vec::with_capacity(wanted.len());
    for (given, value) in wanted {
        let invalid = |cause: &str| {
            let advice = "keys are written as net.ipv4.conf.IFNAME.arp_notify or with slashes";
            Error::new(Code::InvalidConfig, format!("sysctl.{given}: {cause}")).with_details(advice)
        };
        let key = sysctl::canonical(&given).map_err(|_| invalid("is not below net"))?;
        if let Some(other) = all.iter().find(|other| other.key == key) {
            return Err(invalid(&format!("is the same as {}", other.given)));
        }
        all.push(Setting { given, key, value });
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}

fn mac(asked: &[(&str, Option<&str>)]) -> Result<Option<Mac>> {
    let first =
        asked.iter().find_map(|(key, text)| Some((*key, (*text)?)).filter(|(_, t)| !t.is_empty()));
    let Some((key, text)) = first else { return Ok(None) };
    let code = match key.starts_with("CNI_ARGS") {
        true => Code::InvalidEnvironment,
        false => Code::InvalidConfig,
    };
    let mac: Mac = text.parse().map_err(|fault| Error::new(code, format!("{key}: {fault}")))?;
    match mac.is_unicast() {
        true => Ok(Some(mac)),
        false => Err(Error::new(code, format!("{key}: {mac} is no address of one interface"))),
    }
}

fn mtu(asked: Option<u32>) -> Result<Option<u32>> {
    match asked.unwrap_or(0) {
        0 => Ok(None),
        mtu @ 68..=65_535 => Ok(Some(mtu)),
        mtu => {
            let cause = format!("mtu {mtu}: want 68 to 65535 bytes, or 0 to leave it as it is");
            Err(Error::new(Code::InvalidConfig, cause))
        }
    }
}

/// An object of which only the keys matter, each of which may be there once.
struct EachOnce;

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EachOnce, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = EachOnce;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EachOnce, A::Error> {
                let mut seen = BTreeSet::new();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if let Some(twice) = seen.replace(key) {
                        return Err(A::Error::custom(format!("{twice:?} is there twice")));
                    }
                }
                Ok(EachOnce)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Refuses a sysctl that is there twice: which value was meant cannot be told.
fn no_key_twice(input: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "sysctl")]
        _sysctl: Option<EachOnce>,
        #[serde(rename = "args")]
        _args: Option<Arguments>,
    }
    #[derive(Deserialize)]
    struct Arguments {
        #[serde(rename = "cni")]
        _cni: Option<Within>,
    }
    #[derive(Deserialize)]
    struct Within {
        #[serde(rename = "sysctl")]
        _sysctl: Option<EachOnce>,
    }
    match serde_json::from_slice::<Document>(input) {
        Ok(_) => Ok(()),
        Err(fault) => Err(Error::new(Code::InvalidConfig, format!("sysctl: {fault}"))
            .with_details("give each sysctl once")),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
