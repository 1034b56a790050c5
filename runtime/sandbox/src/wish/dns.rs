//! `resolv.conf` (resolv.conf(5)).

use crate::{Error, Result};
use cri_api::v1::DnsConfig;
use std::net::IpAddr;

/// Content for what is asked; `None` for the node's own.
///
/// # Errors
/// Values that would be more than one word of the file, or no address.
pub(super) fn resolv_conf(dns: Option<&DnsConfig>) -> Result<Option<String>> {
    let Some(dns) = dns else { return Ok(None) };
    if dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty() {
        return Ok(None);
    }
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", words("dns_config.searches", &dns.searches)?));
    }
    for server in &dns.servers {
        // A link-local address has a zone behind it.
        let address = server.split_once('%').map_or(server.as_str(), |(address, _)| address);
        if address.parse::<IpAddr>().is_err() || !is_word(server) {
            let cause = format!("{server:?} is not an IP address");
            return Err(Error::invalid("dns_config.servers", cause));
        }
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", words("dns_config.options", &dns.options)?));
    }
    Ok(Some(text))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn words(field: &str, list: &[String]) -> Result<String> {
    match list.iter().find(|text| !is_word(text)) {
        Some(bad) => Err(Error::invalid(field, format!("{bad:?} is not one word"))),
        None => Ok(list.join(" ")),
    }
}
