//! Attachments that a runtime knows, of any network.

use std::path::PathBuf;

/// Overrides `/var/lib/cni`.
const CACHE_DIR: &str = "PODLOOM_CACHE_DIR";

/// What the runtime's result cache knows: `/var/lib/cni/results`, or below `PODLOOM_CACHE_DIR`.
///
/// Some things that the reference plugins leave do not tell their network. What is not valid in
/// the network of a GC call may be in another: it is taken for dead only if no attachment of it
/// is recorded.
#[derive(Clone, Debug)]
pub struct Known(Option<Vec<String>>);

impl Known {
    /// Looks into the cache.
    pub fn read() -> Known {
        let dir = std::env::var_os(CACHE_DIR).filter(|dir| !dir.is_empty());
        let dir = dir.map_or_else(|| PathBuf::from("/var/lib/cni"), PathBuf::from).join("results");
        let names = std::fs::read_dir(dir).ok().map(|entries| {
            entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
        });
        Known(names)
    }

    /// Whether a container may have an attachment; without a cache, any may.
    pub fn may_have_container(&self, id: &str) -> bool {
        let within = format!("-{id}-");
        self.0.as_ref().is_none_or(|names| names.iter().any(|name| name.contains(&within)))
    }

    /// Whether this attachment may be there, in whatever network; without a cache, any may.
    pub fn may_have(&self, container_id: &str, ifname: &str) -> bool {
        let end = format!("-{container_id}-{ifname}");
        self.0.as_ref().is_none_or(|names| names.iter().any(|name| name.ends_with(&end)))
    }

    /// Whether an attachment may be there whose network and container `is_meant` says yes to;
    /// without a cache, any may. Names may have dashes: it is asked about each way to read a record.
    pub fn may_have_any(&self, is_meant: impl Fn(&str, &str) -> bool) -> bool {
        let reads = |name: &String| {
            name.match_indices('-').any(|(first, _)| {
                let (network, rest) = (&name[..first], &name[first + 1..]);
                rest.match_indices('-').any(|(second, _)| is_meant(network, &rest[..second]))
            })
        };
        self.0.as_ref().is_none_or(|names| names.iter().any(reads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_in_every_way() {
        let known = Known(Some(vec!["my-net-0123-eth0".to_owned(), "lo-abc-net-1".to_owned()]));
        assert!(known.may_have_container("0123") && !known.may_have_container("123"));
        assert!(known.may_have("0123", "eth0") && known.may_have("abc", "net-1"));
        assert!(!known.may_have("0123", "eth1") && !known.may_have("123", "eth0"));
        assert!(known.may_have_any(|network, id| (network, id) == ("my-net", "0123")));
        assert!(known.may_have_any(|network, id| (network, id) == ("lo", "abc")));
        assert!(!known.may_have_any(|network, id| (network, id) == ("my-net", "eth0")));
        let none = Known(Some(Vec::new()));
        assert!(!none.may_have_any(|_, _| true) && !none.may_have("a", "b"));
    }

    #[test]
    fn without_a_cache_anything_may_be_there() {
        let known = Known(None);
        assert!(known.may_have_container("a") && known.may_have("a", "b"));
        assert!(known.may_have_any(|_, _| false));
    }
}
