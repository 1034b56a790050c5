//! Counters of a pod's interfaces.
//!
//! A process of the pod shows them in `/proc`, which costs less than to enter its namespace; that
//! the process is in the namespace still is checked. A pod without a process is entered.

use crate::files;
use ::container::Container;
use netns::Netns;
use rustix::fs::stat;
use sandbox::Sandbox;
use std::path::Path;
use std::sync::Arc;

/// Counters of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) received: Counters,
    pub(crate) sent: Counters,
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) errors: u64,
    pub(crate) dropped: u64,
}

/// The interfaces of a pod, without its loopback; none for pods on the node's network. `running` are its
/// containers that run.
pub(crate) fn interfaces(pod: &Sandbox, running: &[Arc<Container>]) -> Option<Vec<Interface>> {
    let network = pod.network();
    let space = network.netns.as_deref()?;
    let read = |path: &str| files::list(Path::new(path), |text| Some(parse(text)));
    let process = running.iter().map(|one| one.pid()).find(|pid| *pid > 0);
    if let Some(pid) = process.filter(|pid| is_in(*pid, space))
        && let Some(all) = read(&format!("/proc/{pid}/net/dev"))
    {
        return Some(all);
    }
    let space = Netns::open(space).ok()?;
    space.run(|| read("/proc/thread-self/net/dev")).ok()?
}

fn is_in(pid: i32, space: &Path) -> bool {
    let own = stat(format!("/proc/{pid}/ns/net"));
    let (Ok(own), Ok(pods)) = (own, stat(space)) else { return false };
    (own.st_dev, own.st_ino) == (pods.st_dev, pods.st_ino)
}

/// Lines after two of headings: `eth0: bytes packets errs drop fifo frame compressed multicast`, and
/// eight for what was sent.
fn parse(text: &str) -> Vec<Interface> {
    let mut all: Vec<Interface> = text.lines().skip(2).filter_map(line).collect();
    all.retain(|one| one.name != "lo");
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn line(text: &str) -> Option<Interface> {
    let (name, counters) = text.rsplit_once(':')?;
    let n: Vec<u64> = counters.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let side = |at: usize| {
        let part = n.get(at..at + 4)?;
        Some(Counters { bytes: part[0], packets: part[1], errors: part[2], dropped: part[3] })
    };
    Some(Interface { name: name.trim().to_owned(), received: side(0)?, sent: side(8)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_directions_are_read() {
        let text = "Inter-|   Receive   |  Transmit\n face |bytes packets ...\n\
            \x20   lo:  1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
            \x20 eth1:  5 6 7 8 0 0 0 0 9 10 11 12 0 0 0 0\n\
            eth0:3000 30 1 2 0 0 0 0 4000 40 3 4 0 0 0 0\n broken: 1 2\n";
        let all = parse(text);
        let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1"]);
        let received = Counters { bytes: 3000, packets: 30, errors: 1, dropped: 2 };
        let sent = Counters { bytes: 4000, packets: 40, errors: 3, dropped: 4 };
        assert_eq!((all[0].received, all[0].sent), (received, sent));
    }
}
