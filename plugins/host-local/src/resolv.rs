//! `resolvConf`: resolver settings from a file in the form of resolv.conf(5).

use cni_types::{Code, Dns, Error, Result};
use std::fs::File;
use std::io::Read;

/// More than any resolver reads; a device or endless pipe must not hold up the plugin.
const LIMIT: u64 = 1 << 20;

/// Reads `path`.
pub(crate) fn read(path: &str) -> Result<Dns> {
    let fault = |cause: String| {
        Error::new(Code::Io, format!("ipam.resolvConf: {path}: {cause}"))
            .with_details("name a readable file in the form of resolv.conf(5)")
    };
    let file = File::open(path).map_err(|e| fault(e.to_string()))?;
    if !file.metadata().map_err(|e| fault(e.to_string()))?.is_file() {
        return Err(fault("is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).map_err(|e| fault(e.to_string()))?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(keyword), Some(first)) = (words.next(), words.next()) else { continue };
        let values = std::iter::once(first).chain(words).map(str::to_owned);
        match keyword {
            "nameserver" => dns.nameservers.push(first.to_owned()),
            "domain" => first.clone_into(&mut dns.domain),
            "search" => dns.search.extend(values),
            "options" => dns.options.extend(values),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keywords_are_read_and_the_rest_is_skipped() {
        let dns = parse(
            "# a comment\n; another\n\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 trailing\n\
             domain example.com\nsearch a.example b.example\nsearch c.example\n\
             options ndots:5 rotate\nsortlist 10.0.0.0\nnameserver\n",
        );
        assert_eq!(dns.nameservers, ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(dns.domain, "example.com");
        assert_eq!(dns.search, ["a.example", "b.example", "c.example"]);
        assert_eq!(dns.options, ["ndots:5", "rotate"]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn a_missing_file_and_a_device_are_errors() {
        for path in ["/nonexistent/resolv.conf", "/dev/zero", "/"] {
            let error = read(path).expect_err(path);
            assert_eq!(error.code, Code::Io);
            assert!(error.msg.contains(path), "{error}");
        }
    }
}
