//! Names that the reference plugins give to chains and rules, so that either can find what the
//! other made.

use sha2::{Digest, Sha256, Sha512};
use std::fmt::Write as _;

/// Bytes of an iptables chain name made from a hash; 28 is what iptables takes.
pub(crate) const CHAIN_LEN: usize = 28;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The first `length` hex digits of SHA-512 of `text`.
pub fn sha512_prefix(length: usize, text: &str) -> String {
    let mut digits = hex(&Sha512::digest(text.as_bytes()));
    digits.truncate(length);
    digits
}

/// The first 32 hex digits of SHA-256 of `text`.
pub(crate) fn sha256_short(text: &str) -> String {
    let mut digits = hex(&Sha256::digest(text.as_bytes()));
    digits.truncate(32);
    digits
}

/// [`sha256_short`] of `parts`, kept apart by a NUL.
pub(crate) fn sha256_key(parts: &[&str]) -> String {
    sha256_short(&parts.join("\0"))
}

/// An iptables chain: `CNI-`, `infix`, and a hash of `text`, 28 bytes in all.
pub(crate) fn hashed_chain(infix: &str, text: &str) -> String {
    let prefix = format!("CNI-{infix}");
    let digits = sha512_prefix(CHAIN_LEN - prefix.len(), text);
    prefix + &digits
}

/// The iptables chain of a container in a network: `CNI-`, `infix`, and a hash of both names, 28
/// bytes in all.
pub fn chain_name(infix: &str, network: &str, container_id: &str) -> String {
    hashed_chain(infix, &format!("{network}{container_id}"))
}

/// The comment of an iptables rule made for a container in a network.
pub fn iptables_comment(network: &str, container_id: &str) -> String {
    format!("name: \"{network}\" id: \"{container_id}\"")
}

/// Network and container of [`iptables_comment`].
pub fn parse_iptables_comment(comment: &str) -> Option<(&str, &str)> {
    comment.strip_prefix("name: \"")?.strip_suffix('"')?.split_once("\" id: \"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        // Digits from `printf %s netcid | sha512sum`.
        assert_eq!(chain_name("", "net", "cid"), "CNI-f74d2f3ccf98e525d41d0c61");
        assert_eq!(chain_name("DN-", "net", "cid").len(), 28);
        assert_eq!(sha512_prefix(16, "net").len(), 16);
    }

    #[test]
    fn a_comment_reads_back() {
        let comment = iptables_comment("net", "cid");
        assert_eq!(comment, r#"name: "net" id: "cid""#);
        assert_eq!(parse_iptables_comment(&comment), Some(("net", "cid")));
        assert_eq!(parse_iptables_comment("dnat name: \"a\" id: \"b\""), None);
    }
}
