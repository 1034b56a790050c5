//! The hardware address that is asked for.

use cni_types::{Code, Error, Result};
use netlink::Mac;

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
