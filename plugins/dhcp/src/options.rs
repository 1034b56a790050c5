//! DHCPv4 options as configurations name them: by number, or as dhcp-options(5) does.

use crate::wire::v4::code;

/// Names that a configuration may use for numbers.
const NAMES: [(&str, u8); 14] = [
    ("subnet-mask", code::SUBNET_MASK),
    ("routers", code::ROUTERS),
    ("domain-name-servers", code::NAME_SERVERS),
    ("host-name", code::HOST_NAME),
    ("domain-name", code::DOMAIN),
    ("interface-mtu", code::MTU),
    ("static-routes", code::STATIC_ROUTES),
    ("ntp-servers", 42),
    ("vendor-class-identifier", 60),
    ("dhcp-client-identifier", code::CLIENT_ID),
    ("user-class", 77),
    ("fqdn", 81),
    ("domain-search", code::SEARCH),
    ("rfc3442-classless-static-routes", code::CLASSLESS_ROUTES),
];

/// What is asked for unless `skipDefault` says otherwise. Option 121 stands before those whose place
/// it takes (RFC 3442).
pub(crate) const USUAL: [u8; 10] = [
    code::SUBNET_MASK,
    code::CLASSLESS_ROUTES,
    code::ROUTERS,
    code::STATIC_ROUTES,
    code::NAME_SERVERS,
    code::DOMAIN,
    code::SEARCH,
    code::MTU,
    code::RENEWAL,
    code::REBINDING,
];

/// Options that the exchange itself is made of: no value of a configuration's can be right.
const OWN: [u8; 8] = [
    code::PAD,
    code::REQUESTED_ADDRESS,
    code::OVERLOAD,
    code::KIND,
    code::SERVER,
    code::WANTED,
    code::LARGEST,
    code::END,
];

/// The number of an option.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn number(text: &str) -> Result<u8, String> {
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == text) {
        return Ok(*number);
    }
    match text.parse::<u8>() {
        Ok(number) if !matches!(number, code::PAD | code::END) => Ok(number),
        _ => {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            Err(format!(
                "{text:?} is no DHCP option: want 1 to 254, or one of {}",
                names.join(", ")
            ))
        }
    }
}

/// The number of an option that a configuration may give a value to.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn to_provide(text: &str) -> Result<u8, String> {
    let number = number(text)?;
    if OWN.contains(&number) {
        return Err(format!("option {number} is set by the DHCP client itself"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_names_and_numbers() {
        assert_eq!(number("host-name"), Ok(12));
        assert_eq!(number("121"), Ok(121));
        for bad in ["", "0", "255", "256", "-1", "hostname", "12 "] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
        assert_eq!(to_provide("vendor-class-identifier"), Ok(60));
        assert!(to_provide("53").expect_err("own").contains("53"));
    }
}
