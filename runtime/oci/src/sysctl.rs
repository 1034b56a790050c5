//! Kernel parameters of namespaces (config-linux.md, Sysctl): each an entry of its own, and only
//! those that a namespace of the container has.

use crate::namespace::Namespaces;
use crate::{Error, Result};
use runtime_spec::NamespaceKind as Kind;
use std::collections::BTreeMap;
use std::ffi::CString;

/// Parameters of the IPC namespace that have no prefix of their own.
const IPC: [&str; 10] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
    "kernel/msg_next_id",
    "kernel/sem_next_id",
];

/// Paths below `/proc` and values.
pub(crate) fn plan(
    wire: &BTreeMap<String, String>,
    namespaces: &Namespaces,
) -> Result<Vec<(CString, Vec<u8>)>> {
    wire.iter().map(|(key, value)| entry(key, value, namespaces)).collect()
}

fn entry(key: &str, value: &str, namespaces: &Namespaces) -> Result<(CString, Vec<u8>)> {
    let subject = || format!("linux.sysctl: {key:?}");
    let path =
        path(key).ok_or_else(|| Error::invalid(subject(), "is not the name of a parameter"))?;
    let Some(kind) = namespace_of(&path) else {
        return Err(Error::invalid(subject(), "is not of a namespace: it would change the host"));
    };
    if !namespaces.has(kind) {
        let cause = format!("needs a {} namespace, and the container has the host's", kind.name());
        return Err(Error::invalid(subject(), cause));
    }
    if value.contains(['\0', '\n']) {
        return Err(Error::invalid(subject(), "its value is more than one line"));
    }
    let file = CString::new(format!("sys/{path}"));
    let file = file.map_err(|_| Error::invalid(subject(), "holds a zero byte"))?;
    Ok((file, value.as_bytes().to_vec()))
}

/// The parameter's path. In a name whose first separator is a dot, dots separate and a slash is a
/// dot of an interface's name, as with sysctl(8).
fn path(key: &str) -> Option<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-./:@".contains(c);
    if !key.chars().all(fine) {
        return None;
    }
    let dotted = key.find(['.', '/']).is_some_and(|at| key.as_bytes().get(at) == Some(&b'.'));
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path = if dotted { key.chars().map(swap).collect() } else { key.to_owned() };
    let sound = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    (sound && path.contains('/')).then_some(path)
}

fn namespace_of(path: &str) -> Option<Kind> {
    if path.starts_with("net/") {
        Some(Kind::Network)
    } else if path.starts_with("fs/mqueue/") || IPC.contains(&path) {
        Some(Kind::Ipc)
    } else if path == "kernel/domainname" || path == "kernel/hostname" {
        Some(Kind::Uts)
    } else if path.starts_with("user/max_") {
        Some(Kind::User)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        assert_eq!(path("net.ipv4.ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
        assert_eq!(path("net.ipv4.conf.eth0/1.mtu").as_deref(), Some("net/ipv4/conf/eth0.1/mtu"));
        assert_eq!(path("net/ipv4/conf/eth0.1/mtu").as_deref(), Some("net/ipv4/conf/eth0.1/mtu"));
        for bad in
            ["", "net", "net..x", "net/../kernel/core_pattern", "net.//.x", "a+b=c", "net.x\n"]
        {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_parameters_of_own_namespaces() {
        let own = Namespaces { new: crate::namespace::flag(Kind::Ipc), joined: Vec::new() };
        let one =
            |key: &str, value: &str| plan(&BTreeMap::from([(key.into(), value.into())]), &own);
        assert!(one("kernel.shmmax", "1").is_ok());
        assert!(one("net.ipv4.ip_forward", "1").is_err(), "the host's network");
        assert!(one("kernel.core_pattern", "|/evil").is_err());
        assert!(one("kernel.shmmax", "1\nkernel.core_pattern=|/evil").is_err());
        assert!(one("kernel.shm_rmid_forced+kernel.core_pattern", "1").is_err());
    }
}
