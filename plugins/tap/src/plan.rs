//! The wish: the interface, and what is set on it once it is there.

use crate::config::Config;
use netlink::Change;

/// A TAP interface to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Whether several descriptors may be open on it, each a queue.
    pub(crate) multi_queue: bool,
    /// User ID that may open it.
    pub(crate) owner: Option<u32>,
    /// Group ID that may open it.
    pub(crate) group: Option<u32>,
}

/// The interface to make, by the name that the attachment asks for.
pub(crate) fn tap<'a>(config: &Config, name: &'a str) -> Wish<'a> {
    let Config { multi_queue, owner, group, .. } = *config;
    Wish { name, multi_queue, owner, group }
}

/// What is set on it; `bridge` is the index of the bridge that it joins.
pub(crate) fn settings(config: &Config, bridge: Option<u32>) -> Change<'static> {
    Change { mac: config.mac, mtu: config.mtu, master: bridge, ..Change::default() }
}

/// What `ip` makes the interface with.
pub(crate) fn words(wish: &Wish<'_>) -> Vec<String> {
    let mut words: Vec<_> =
        ["tuntap", "add", "mode", "tap", "name", wish.name].map(str::to_owned).into();
    words.extend(wish.multi_queue.then(|| "multi_queue".to_owned()));
    for (word, id) in [("user", wish.owner), ("group", wish.group)] {
        words.extend(id.into_iter().flat_map(|id| [word.to_owned(), id.to_string()]));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ip_is_told_the_same_as_the_kernel() {
        let wish = Wish { name: "eth0", multi_queue: true, owner: Some(0), group: Some(107) };
        assert_eq!(
            words(&wish).join(" "),
            "tuntap add mode tap name eth0 multi_queue user 0 group 107"
        );
        let least = Wish { multi_queue: false, owner: None, group: None, ..wish };
        assert_eq!(words(&least).join(" "), "tuntap add mode tap name eth0");
    }
}
