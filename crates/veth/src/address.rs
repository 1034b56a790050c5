//! The hardware address that is asked for.

use cni_types::{Args, Code, Error, Result};
use netlink::Mac;

/// The keys that may ask for an address, as written; empty where they do not.
#[derive(Clone, Copy, Debug, Default)]
pub struct AskedMac<'a> {
    /// `runtimeConfig.mac`, which overrules all.
    pub runtime: &'a str,
    /// `args.cni.mac`, which overrules `CNI_ARGS`.
    pub cni_args: &'a str,
    /// `mac` of the configuration itself, which `CNI_ARGS` overrules.
    pub own: &'a str,
}

impl AskedMac<'_> {
    /// The address that counts, where one is asked for by a key or by `MAC` of `CNI_ARGS`.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] or [`Code::InvalidEnvironment`] for a wrong one, by where it stands.
    pub fn read(&self, args: &Args) -> Result<Option<Mac>> {
        first_mac(&[
            ("runtimeConfig.mac", self.runtime, Code::InvalidConfig),
            ("args.cni.mac", self.cni_args, Code::InvalidConfig),
            ("CNI_ARGS: MAC", args.get("MAC").unwrap_or_default(), Code::InvalidEnvironment),
            ("mac", self.own, Code::InvalidConfig),
        ])
    }
}

/// The first address that is given: each source is its key, its text, empty where it gives none,
/// and the code of a wrong one.
///
/// # Errors
/// That code, when the text is no address or not that of one interface.
pub fn first_mac(sources: &[(&str, &str, Code)]) -> Result<Option<Mac>> {
    let Some(&(key, text, code)) = sources.iter().find(|(_, text, _)| !text.is_empty()) else {
        return Ok(None);
    };
    let mac: Mac = text.parse().map_err(|e| Error::new(code, format!("{key}: {e}")))?;
    if !mac.is_unicast() {
        return Err(Error::new(code, format!("{key}: {mac} is no address of one interface"))
            .with_details("the first byte must be even, and not all bytes zero"));
    }
    Ok(Some(mac))
}
