//! What a process may do beyond its user: capabilities(7).

use crate::{Error, Kind, Result};
use cri_api::v1::Capability;
use runtime_spec::Capabilities;
use std::collections::BTreeSet;

/// Names in the order of their numbers, without `CAP_`.
const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP \
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE \
    SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME \
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG \
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";

/// All capabilities that this process may hand on, by the mask of its bounding set.
pub(crate) fn all(bounding: u64) -> BTreeSet<String> {
    let names = NAMES.split_ascii_whitespace().enumerate();
    names.filter(|(n, _)| bounding >> n & 1 == 1).map(|(_, name)| name.to_owned()).collect()
}

/// The name as it is known, of any case, with or without `CAP_`.
fn name(field: &str, text: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if NAMES.split_ascii_whitespace().any(|known| known == short) {
        return Ok(short.to_owned());
    }
    let e = Error::new(Kind::Invalid, format!("{field} {text:?}"), "is not a capability");
    Err(e.with_advice("see capabilities(7)"))
}

fn is_all(text: &str) -> bool {
    text.eq_ignore_ascii_case("ALL")
}

/// The sets of a container: `defaults`, or all or none, then what is added, less what is dropped.
/// Nothing is inheritable but what is ambient.
///
/// # Errors
/// A name is not known.
pub(crate) fn sets(
    asked: &Capability,
    defaults: &[String],
    all: &BTreeSet<String>,
) -> Result<Capabilities> {
    let mut set: BTreeSet<String> = match asked.add_capabilities.iter().any(|c| is_all(c)) {
        true => all.clone(),
        false if asked.drop_capabilities.iter().any(|c| is_all(c)) => BTreeSet::new(),
        false => defaults.iter().map(|c| name("default capability", c)).collect::<Result<_>>()?,
    };
    for added in asked.add_capabilities.iter().filter(|c| !is_all(c)) {
        set.insert(name("capability to add", added)?);
    }
    for dropped in asked.drop_capabilities.iter().filter(|c| !is_all(c)) {
        set.remove(&name("capability to drop", dropped)?);
    }
    let mut ambient = BTreeSet::new();
    for added in &asked.add_ambient_capabilities {
        ambient.insert(name("ambient capability", added)?);
    }
    set.extend(ambient.iter().cloned());
    Ok(of(&set, &ambient))
}

/// The sets of a privileged container.
pub(crate) fn privileged(all: &BTreeSet<String>) -> Capabilities {
    of(all, &BTreeSet::new())
}

fn of(set: &BTreeSet<String>, ambient: &BTreeSet<String>) -> Capabilities {
    let named =
        |set: &BTreeSet<String>| set.iter().map(|name| format!("CAP_{name}")).collect::<Vec<_>>();
    Capabilities {
        bounding: named(set),
        effective: named(set),
        permitted: named(set),
        inheritable: named(ambient),
        ambient: named(ambient),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(add: &[&str], drop: &[&str], ambient: &[&str]) -> Result<Capabilities> {
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        let asked = Capability {
            add_capabilities: texts(add),
            drop_capabilities: texts(drop),
            add_ambient_capabilities: texts(ambient),
        };
        sets(&asked, &["KILL".to_owned(), "CHOWN".to_owned()], &all((1 << 41) - 1))
    }

    #[test]
    fn sets_are_added_to_and_dropped_from() {
        let bounding = |add: &[&str], drop: &[&str]| of(add, drop, &[]).expect("sets").bounding;
        assert_eq!(bounding(&[], &[]), ["CAP_CHOWN", "CAP_KILL"]);
        assert_eq!(bounding(&["CAP_NET_ADMIN"], &["chown"]), ["CAP_KILL", "CAP_NET_ADMIN"]);
        assert_eq!(bounding(&["bpf"], &["ALL"]), ["CAP_BPF"]);
        assert_eq!(bounding(&["all"], &[]).len(), 41);
        assert_eq!(bounding(&["ALL"], &["SYS_ADMIN"]).len(), 40);
        assert_eq!(all(1 << 24).into_iter().collect::<Vec<_>>(), ["SYS_RESOURCE"]);
    }

    #[test]
    fn only_the_ambient_is_inheritable() {
        let sets = of(&[], &[], &[]).expect("sets");
        assert_eq!((sets.inheritable.len(), sets.ambient.len()), (0, 0));
        let sets = of(&[], &["ALL"], &["NET_BIND_SERVICE"]).expect("sets");
        assert_eq!(sets.ambient, ["CAP_NET_BIND_SERVICE"]);
        assert_eq!(sets.inheritable, sets.ambient);
        assert_eq!(sets.permitted, sets.ambient);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        assert!(of(&["NO_SUCH"], &[], &[]).is_err());
        assert!(of(&[], &["CAP_CAP_CHOWN"], &[]).is_err());
        assert!(of(&[], &[], &["ALL"]).is_err(), "not of the ambient set");
    }
}
