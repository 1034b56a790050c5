//! Hardware addresses.

use ipnetwork::IpNetwork;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// A text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacError(String);

impl Mac {
    /// Whether an interface may have it: neither a group address nor all zeros.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }

    /// The link-local address that the kernel makes of it (RFC 4291, appendix A), with the prefix
    /// length of all such.
    pub fn link_local(self) -> IpNetwork {
        let [a, b, c, d, e, f] = self.0;
        let pair = |high, low| u16::from_be_bytes([high, low]);
        let ip = Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            pair(a ^ 2, b),
            pair(c, 0xff),
            pair(0xfe, d),
            pair(e, f),
        );
        // 64 bits is a valid prefix length.
        IpNetwork::new(ip.into(), 64).unwrap_or_else(|_| IpNetwork::from(IpAddr::V6(ip)))
    }
}

impl fmt::Display for MacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an Ethernet address (aa:bb:cc:dd:ee:ff)", self.0)
    }
}

impl std::error::Error for MacError {}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = MacError;

    /// Reads six bytes as `aa:bb:cc:dd:ee:ff`, `aa-bb-cc-dd-ee-ff` or `aabb.ccdd.eeff`.
    fn from_str(text: &str) -> Result<Mac, MacError> {
        let fault = || MacError(text.to_owned());
        let (separator, width) = match text.as_bytes().get(2) {
            Some(b':') => (':', 2),
            Some(b'-') => ('-', 2),
            _ => ('.', 4),
        };
        let mut bytes = [0_u8; 6];
        let mut at = 0;
        for group in text.split(separator) {
            if group.len() != width || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(fault());
            }
            for pair in (0..width).step_by(2) {
                let value = u8::from_str_radix(&group[pair..pair + 2], 16).map_err(|_| fault())?;
                *bytes.get_mut(at).ok_or_else(fault)? = value;
                at += 1;
            }
        }
        if at == 6 { Ok(Mac(bytes)) } else { Err(fault()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_follows_from_the_hardware_address() {
        let address = Mac([0xd2, 0xfe, 0x9e, 0xb4, 0x77, 0x1a]).link_local();
        assert_eq!(address.to_string(), "fe80::d0fe:9eff:feb4:771a/64");
    }

    #[test]
    fn every_way_to_write_one_is_read() {
        let mac = Mac([0x0a, 0x58, 0, 1, 0xfe, 0xff]);
        for text in ["0a:58:00:01:fe:ff", "0A-58-00-01-FE-FF", "0a58.0001.feff"] {
            assert_eq!(text.parse::<Mac>().expect(text), mac);
        }
        assert_eq!(mac.to_string(), "0a:58:00:01:fe:ff");
        assert!(mac.is_unicast());
        assert!(!Mac([0; 6]).is_unicast());
        assert!(!Mac([0xff; 6]).is_unicast());
        for bad in
            ["", "0a:58:00:01:fe", "0a:58:00:01:fe:ff:00", "0a:58:00:01:fe:+f", "a:1:2:3:4:5"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }
}
