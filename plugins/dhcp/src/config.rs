//! The configuration: as written ([`Wire`]), and valid by construction ([`Config`]).

use crate::lease::Family;
use crate::options;
use crate::wire::v4::code;
use cni_types::{Args, Code, Error, NetConf, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where the daemon listens unless `daemonSocketPath` says otherwise.
pub(crate) const SOCKET: &str = "/run/cni/dhcp.sock";
/// The longest value of an option, in bytes.
const VALUE_MAX: usize = 255;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    ipam: Option<Ipam>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    daemon_socket_path: String,
    provide: Vec<Provide>,
    request: Vec<Request>,
    priority: u32,
    families: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Provide {
    option: String,
    value: String,
    from_arg: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request {
    skip_default: bool,
    option: String,
}

/// The part of the configuration that DEL and GC read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Where {
    ipam: WhereIpam,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WhereIpam {
    daemon_socket_path: String,
}

/// The daemon's socket, and nothing else: options that have become invalid must not keep a pod from
/// being deleted.
///
/// # Errors
/// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`] for a relative path.
pub(crate) fn socket(conf: &NetConf) -> Result<PathBuf> {
    let wire: Where = conf.decode()?;
    absolute(&wire.ipam.daemon_socket_path)
}

fn absolute(path: &str) -> Result<PathBuf> {
    let path = Path::new(if path.is_empty() { SOCKET } else { path });
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let cause = format!("ipam.daemonSocketPath: {} is not absolute", path.display());
    Err(Error::new(Code::InvalidConfig, cause)
        .with_details("a relative path depends on where the runtime was started"))
}

/// What to ask of servers, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The daemon's socket.
    pub(crate) socket: PathBuf,
    /// At least one, without repetition.
    pub(crate) families: Vec<Family>,
    /// Options to send along, without repetition.
    pub(crate) provide: Vec<(u8, Vec<u8>)>,
    /// What takes the place of the client's own identifier (option 61).
    pub(crate) client_id: Option<Vec<u8>>,
    /// Options to ask for, without repetition.
    pub(crate) request: Vec<u8>,
    /// Metric of all routes.
    pub(crate) priority: Option<u32>,
}

impl Config {
    /// Reads and checks the whole configuration.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`] with the path of the key.
    pub(crate) fn read(conf: &NetConf, args: &Args) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let Some(ipam) = wire.ipam else {
            return Err(Error::new(Code::InvalidConfig, "ipam: is missing")
                .with_details("dhcp reads its settings from the key \"ipam\""));
        };
        let mut provide = provided(&ipam.provide, args)?;
        let own = provide.iter().position(|(number, _)| *number == code::CLIENT_ID);
        let client_id = own.map(|at| provide.remove(at).1);
        Ok(Config {
            socket: absolute(&ipam.daemon_socket_path)?,
            families: families(ipam.families)?,
            provide,
            client_id,
            request: requested(&ipam.request)?,
            priority: Some(ipam.priority).filter(|priority| *priority != 0),
        })
    }
}

fn invalid(key: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::InvalidConfig, format!("{key}: {cause}"))
}

fn families(written: Option<Vec<String>>) -> Result<Vec<Family>> {
    let Some(words) = written else { return Ok(vec![Family::Ipv4]) };
    let mut families = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let family = match word.as_str() {
            "ipv4" => Family::Ipv4,
            "ipv6" => Family::Ipv6,
            other => {
                let key = format!("ipam.families[{n}]");
                return Err(invalid(&key, format!("{other:?}: want \"ipv4\" or \"ipv6\"")));
            }
        };
        if !families.contains(&family) {
            families.push(family);
        }
    }
    if families.is_empty() {
        return Err(invalid("ipam.families", "is empty").with_details("leave it out for IPv4"));
    }
    Ok(families)
}

fn provided(written: &[Provide], args: &Args) -> Result<Vec<(u8, Vec<u8>)>> {
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    for (n, item) in written.iter().enumerate() {
        let key = |leaf: &str| format!("ipam.provide[{n}].{leaf}");
        let number =
            options::to_provide(&item.option).map_err(|cause| invalid(&key("option"), cause))?;
        if item.value.is_empty() && item.from_arg.is_empty() {
            return Err(invalid(&key("value"), "is missing")
                .with_details("give value, or fromArg with the name of a key of CNI_ARGS"));
        }
        // What the runtime says of this pod goes over what is said of all.
        let from_arg = args.get(&item.from_arg).filter(|_| !item.from_arg.is_empty());
        let (leaf, value) = match from_arg {
            Some(value) => ("fromArg", value),
            None => ("value", item.value.as_str()),
        };
        if value.len() > VALUE_MAX {
            let cause = format!("has {} bytes, an option at most {VALUE_MAX}", value.len());
            return Err(invalid(&key(leaf), cause));
        }
        if !value.is_empty() {
            options.retain(|(other, _)| *other != number);
            options.push((number, value.as_bytes().to_vec()));
        }
    }
    Ok(options)
}

fn requested(written: &[Request]) -> Result<Vec<u8>> {
    let mut numbers = Vec::new();
    if !written.iter().any(|item| item.skip_default) {
        numbers.extend(options::USUAL);
    }
    for (n, item) in written.iter().enumerate().filter(|(_, item)| !item.option.is_empty()) {
        let key = format!("ipam.request[{n}].option");
        let number = options::number(&item.option).map_err(|cause| invalid(&key, cause))?;
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
