//! Kernel parameters of a pod: only those that a namespace of its own holds.

use super::Spaces;
use crate::{Error, Result};
use std::collections::HashMap;

/// The longest value, in bytes: a page.
const VALUE_MAX: usize = 4095;

/// One kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysctl {
    /// With dots between its parts, a slash for a dot inside a part.
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) which: Which,
}

/// Whose parameter it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The network namespace's.
    Net,
    /// The IPC namespace's.
    Ipc,
    /// The UTS namespace's.
    Uts,
}

/// # Errors
/// Keys that are the whole node's, or whose namespace the pod shares with it; keys and values that
/// are more than one.
pub(super) fn parse(map: &HashMap<String, String>, spaces: &Spaces) -> Result<Vec<Sysctl>> {
    let mut found = Vec::new();
    for (key, value) in map {
        let subject = format!("sysctl {key:?}");
        let Some(dotted) = dotted(key) else {
            return Err(Error::invalid(subject, "is not the name of one kernel parameter"));
        };
        let printable = |c: char| c == '\t' || (' '..='~').contains(&c);
        if value.len() > VALUE_MAX || !value.chars().all(printable) || value.contains('+') {
            let cause = format!("{:?} is not one line of plain text", shortened(value));
            return Err(Error::invalid(subject, cause));
        }
        let (which, own) = match which(&dotted) {
            Some(Which::Net) => (Which::Net, spaces.net),
            Some(Which::Ipc) => (Which::Ipc, spaces.ipc),
            Some(Which::Uts) => (Which::Uts, spaces.net),
            None => {
                return Err(Error::invalid(subject, "is a parameter of the whole node")
                    .with_advice(
                        "set it on the node; pods have net.*, kernel.shm*, kernel.msg*, \
                                  kernel.sem, fs.mqueue.* and kernel.domainname",
                    ));
            }
        };
        if !own {
            return Err(Error::invalid(subject, "the pod shares this namespace with the node")
                .with_advice("leave out hostNetwork or hostIPC, or set it on the node"));
        }
        found.push(Sysctl { key: dotted, value: value.clone(), which });
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    if let Some(twice) = found.windows(2).find(|pair| pair[0].key == pair[1].key) {
        return Err(Error::invalid(format!("sysctl {:?}", twice[0].key), "is set twice"));
    }
    Ok(found)
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The key with dots between its parts. As in sysctl(8), the first separator says which one it is.
fn dotted(key: &str) -> Option<String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_' | '-');
    let slashes = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'/');
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let dotted: String = if slashes { key.chars().map(swapped).collect() } else { key.to_owned() };
    let parts = dotted.split('.').all(|part| !matches!(part, "" | "/" | "//"));
    (key.len() <= 255 && key.chars().all(sound) && parts && dotted.contains('.')).then_some(dotted)
}

fn which(key: &str) -> Option<Which> {
    const IPC: [&str; 10] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg_next_id",
        "kernel.sem",
        "kernel.sem_next_id",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_next_id",
    ];
    match key {
        _ if key.starts_with("net.") => Some(Which::Net),
        _ if key.starts_with("fs.mqueue.") => Some(Which::Ipc),
        "kernel.shm_rmid_forced" | "kernel.auto_msgmni" => Some(Which::Ipc),
        "kernel.domainname" => Some(Which::Uts),
        _ => IPC.contains(&key).then_some(Which::Ipc),
    }
}
