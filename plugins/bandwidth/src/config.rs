//! The plugin's configuration: as the operator or the runtime wrote it, and valid by construction.

use cni_types::{Code, Error, NetConf, Result};
use ipnetwork::IpNetwork;
use serde::Deserialize;

/// The keys of the configuration, as written. They stand in it, or come from the runtime.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ingress_rate: Option<u64>,
    ingress_burst: Option<u64>,
    egress_rate: Option<u64>,
    egress_burst: Option<u64>,
    unshaped_subnets: Vec<String>,
    shaped_subnets: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    runtime_config: Runtime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runtime {
    bandwidth: Keys,
}

/// A valid configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Limit of what the pod receives.
    pub(crate) ingress: Option<Limit>,
    /// Limit of what the pod sends.
    pub(crate) egress: Option<Limit>,
    /// Which peers of the pod the limits are for.
    pub(crate) scope: Scope,
}

/// A limit as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Bytes in a second.
    pub(crate) rate: u64,
    /// Bytes that may go at once; the plugin's choice where absent.
    pub(crate) burst: Option<u64>,
    /// The burst as it was written, in bytes, however absurd; 0 for none.
    pub(crate) written: u64,
}

/// Which peers of the pod limits are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All.
    #[default]
    All,
    /// All but those in these networks.
    AllBut(Vec<IpNetwork>),
    /// Those in these networks.
    Only(Vec<IpNetwork>),
}

/// From this many bits on a burst means that the one who wrote it does not mind: the largest 32-bit
/// number, with sign or without, is what container runtimes write beside a rate.
const ANY_BURST: u64 = 0x7fff_ffff;
/// More networks than this are a mistake, and each costs every packet a comparison.
const SUBNETS_MAX: usize = 256;

impl Config {
    /// Reads `conf`.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type, [`Code::InvalidConfig`] for a wrong value.
    pub(crate) fn read(conf: &NetConf) -> Result<Config> {
        let (own, wire): (Keys, Wire) = (conf.decode()?, conf.decode()?);
        let given = wire.runtime_config.bandwidth;
        // As in the reference plugin, limits in the configuration make those of the runtime void.
        let (keys, place) = match own.has_limits() {
            true => (&own, ""),
            false => (&given, "runtimeConfig.bandwidth."),
        };
        let from_runtime = !given.unshaped_subnets.is_empty() || !given.shaped_subnets.is_empty();
        let (lists, list_place) = match from_runtime {
            true => (&given, "runtimeConfig.bandwidth."),
            false => (&own, ""),
        };
        let limit = |name: &str, rate, burst| limit(&format!("{place}{name}"), rate, burst);
        Ok(Config {
            ingress: limit("ingress", keys.ingress_rate, keys.ingress_burst)?,
            egress: limit("egress", keys.egress_rate, keys.egress_burst)?,
            scope: scope(lists, list_place)?,
        })
    }

    /// A configuration with some limit in both directions.
    pub(crate) fn any() -> Config {
        let limit = Some(Limit { rate: 125_000, burst: None, written: 0 });
        Config { ingress: limit, egress: limit, scope: Scope::All }
    }

    /// Whether anything is limited.
    pub(crate) fn has_limits(&self) -> bool {
        self.ingress.is_some() || self.egress.is_some()
    }
}

impl Keys {
    fn has_limits(&self) -> bool {
        [self.ingress_rate, self.ingress_burst, self.egress_rate, self.egress_burst]
            .iter()
            .any(Option::is_some)
    }
}

fn limit(direction: &str, rate: Option<u64>, burst: Option<u64>) -> Result<Option<Limit>> {
    let (rate, burst) = (rate.unwrap_or(0), burst.unwrap_or(0));
    let invalid = |key: &str, cause: &str| {
        Err(Error::new(Code::InvalidConfig, format!("{direction}{key}: {cause}")))
    };
    match (rate, burst) {
        (0, 0) => Ok(None),
        (0, _) => invalid("Burst", "has no meaning without a rate"),
        (1..8, _) => invalid("Rate", "want at least 8 bits in a second"),
        _ => {
            let bytes = Some(burst / 8).filter(|bytes| *bytes > 0 && burst < ANY_BURST);
            // What would take more than a second is no burst any more.
            let sane = bytes.filter(|bytes| *bytes <= rate / 8);
            Ok(Some(Limit { rate: rate / 8, burst: sane, written: burst / 8 }))
        }
    }
}

fn scope(lists: &Keys, place: &str) -> Result<Scope> {
    let named = |name: &str| format!("{place}{name}");
    match (lists.unshaped_subnets.as_slice(), lists.shaped_subnets.as_slice()) {
        ([], []) => Ok(Scope::All),
        (unshaped, []) => Ok(Scope::AllBut(networks(&named("unshapedSubnets"), unshaped)?)),
        ([], shaped) => Ok(Scope::Only(networks(&named("shapedSubnets"), shaped)?)),
        _ => {
            let cause = format!("{}: excludes unshapedSubnets", named("shapedSubnets"));
            Err(Error::new(Code::InvalidConfig, cause)
                .with_details("list either what is limited or what is not"))
        }
    }
}

fn networks(key: &str, texts: &[String]) -> Result<Vec<IpNetwork>> {
    let invalid = |cause: String| Error::new(Code::InvalidConfig, format!("{key}{cause}"));
    if texts.len() > SUBNETS_MAX {
        return Err(invalid(format!(": has {} entries, at most {SUBNETS_MAX}", texts.len())));
    }
    let mut all = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let network: IpNetwork = text
            .parse()
            .map_err(|_| invalid(format!("[{index}]: {text:?} is not a network, as 10.0.0.0/8")))?;
        // The bits of a host in it say nothing.
        let network = IpNetwork::new(network.network(), network.prefix()).unwrap_or(network);
        if !all.contains(&network) {
            all.push(network);
        }
    }
    Ok(all)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
