//! The state of a node as lines, so that two states can be compared.

use crate::enter::Ns;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What plugins may leave on a node: links, addresses, routes, policy rules, bridge VLANs, nft
/// and iptables rules, files. Counters, indices, ages and what the kernel itself makes late
/// (link-local addresses, carrier) are not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    lines: BTreeMap<String, usize>,
}

/// The lines in which two states differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the later state only.
    pub added: Vec<String>,
    /// In the earlier state only.
    pub removed: Vec<String>,
}

impl Snapshot {
    pub(crate) fn take(node: &Ns, dirs: &[PathBuf]) -> Snapshot {
        let mut all = Vec::new();
        all.extend(links(node));
        all.extend(addresses(node));
        all.extend(json_lines(node, "route", "route show table all"));
        all.extend(json_lines(node, "route", "-6 route show table all"));
        all.extend(json_lines(node, "rule", "rule show"));
        all.extend(json_lines(node, "rule", "-6 rule show"));
        all.extend(vlans(node));
        all.extend(nft(node));
        all.extend(iptables(node, "iptables-save"));
        all.extend(iptables(node, "ip6tables-save"));
        for dir in dirs {
            files(dir, dir, &mut all);
        }
        let mut lines = BTreeMap::new();
        for line in all {
            *lines.entry(line).or_insert(0) += 1;
        }
        Snapshot { lines }
    }

    /// What changed from this state to `later`.
    pub fn diff(&self, later: &Snapshot) -> Diff {
        let more = |a: &Snapshot, b: &Snapshot| {
            let count = |line: &String| b.lines.get(line).copied().unwrap_or(0);
            a.lines
                .iter()
                .filter(|(line, n)| **n > count(line))
                .map(|(line, _)| line.clone())
                .collect()
        };
        Diff { added: more(later, self), removed: more(self, later) }
    }

    /// Whether `later` is this state.
    ///
    /// # Panics
    /// When it is not, with the differing lines.
    pub fn assert_same(&self, later: &Snapshot) {
        let diff = self.diff(later);
        assert!(diff.is_empty(), "the node is not as before:\n{diff}");
    }

    /// The lines that contain `text`.
    pub fn matching(&self, text: &str) -> Vec<&str> {
        self.lines.keys().filter(|l| l.contains(text)).map(String::as_str).collect()
    }
}

impl Diff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// The rest without the lines that contain one of `texts`, such as a bridge that DEL leaves.
    #[must_use]
    pub fn without(self, texts: &[&str]) -> Diff {
        let keep = |lines: Vec<String>| {
            lines.into_iter().filter(|l| !texts.iter().any(|t| l.contains(t))).collect()
        };
        Diff { added: keep(self.added), removed: keep(self.removed) }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.removed.iter().try_for_each(|l| writeln!(f, "- {l}"))?;
        self.added.iter().try_for_each(|l| writeln!(f, "+ {l}"))
    }
}

/// Conntrack entries without age and state of timers.
pub(crate) fn conntrack(node: &Ns) -> Vec<String> {
    let text = node.sh("conntrack", &["-L", "-o", "extended"]);
    let age = |line: &str| {
        let mut words: Vec<_> = line.split_whitespace().collect();
        if words.len() > 4 {
            words.remove(4);
        }
        words.join(" ")
    };
    text.lines().map(age).collect()
}

/// VLANs of bridge ports; none on a kernel that is built without them.
fn vlans(node: &Ns) -> Vec<String> {
    let done = node.exec("bridge", &["-compressvlans", "vlan", "show"]);
    String::from_utf8_lossy(&done.stdout)
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(|l| format!("vlan: {}", l.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn links(node: &Ns) -> Vec<String> {
    let list = node.ip_json("link show");
    let line = |link: &Value| {
        let text = |key: &str| link[key].as_str().unwrap_or_default();
        let kind = link["linkinfo"]["info_kind"].as_str().unwrap_or("-");
        let up = link["flags"].as_array().is_some_and(|f| f.iter().any(|f| f == "UP"));
        // A bridge without an own address takes one of its ports' for its own.
        let mac = if kind == "bridge" { "-" } else { text("address") };
        format!(
            "link: {} kind {kind} mac {mac} mtu {} master {:?} {} promisc {} alias {:?} {}",
            text("ifname"),
            link["mtu"],
            text("master"),
            if up { "UP" } else { "DOWN" },
            link["promiscuity"],
            text("ifalias"),
            port(&link["linkinfo"]["info_slave_data"]),
        )
    };
    list.as_array().map(|l| l.iter().map(line).collect()).unwrap_or_default()
}

fn port(data: &Value) -> String {
    ["hairpin", "isolated"].map(|key| format!("{key} {}", data[key])).join(" ")
}

fn addresses(node: &Ns) -> Vec<String> {
    let mut lines = Vec::new();
    for link in node.ip_json("addr show").as_array().into_iter().flatten() {
        for info in link["addr_info"].as_array().into_iter().flatten() {
            let local = info["local"].as_str().unwrap_or_default();
            if local.starts_with("fe80:") {
                continue;
            }
            let dev = link["ifname"].as_str().unwrap_or_default();
            lines.push(format!(
                "address: {dev} {local}/{} scope {}",
                info["prefixlen"], info["scope"]
            ));
        }
    }
    lines
}

/// Routes and rules. The kernel derives link-local, multicast and local routes from addresses, and
/// makes them when the carrier comes, or a little later; flags tell the carrier.
fn json_lines(node: &Ns, section: &str, query: &str) -> Vec<String> {
    let list = node.ip_json(query);
    let keep = |entry: &&Value| {
        let dst = entry["dst"].as_str().unwrap_or_default();
        let derived = entry["type"] == "multicast" || entry["table"] == "local";
        !derived && !dst.starts_with("fe80:") && !dst.starts_with("ff00:")
    };
    let line = |entry: &Value| {
        let mut entry = entry.clone();
        if let Some(map) = entry.as_object_mut() {
            map.remove("flags");
        }
        format!("{section}: {entry}")
    };
    list.as_array().map(|l| l.iter().filter(keep).map(line).collect()).unwrap_or_default()
}

/// Each rule with its table and chain before it. `-s` leaves the counters out.
fn nft(node: &Ns) -> Vec<String> {
    let text = node.sh("nft", &["-s", "list", "ruleset"]);
    let mut path: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if line.starts_with('}') && line.len() == 1 {
            path.pop();
        } else if let Some(head) = line.strip_suffix(" {") {
            path.push(head);
            lines.push(format!("nft: {}", path.join(" / ")));
        } else {
            lines.push(format!("nft: {} / {line}", path.join(" / ")));
        }
    }
    lines
}

fn iptables(node: &Ns, program: &str) -> Vec<String> {
    let text = node.sh(program, &[]);
    let mut table = "";
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.chars().next() {
            None | Some('#') => {}
            Some('*') => table = line,
            Some(_) if line == "COMMIT" => {}
            Some(':') => {
                let chain = line.split(" [").next().unwrap_or(line);
                lines.push(format!("{program}: {table} {chain}"));
            }
            Some(_) => lines.push(format!("{program}: {table} {line}")),
        }
    }
    lines
}

/// Files with their content. Locks and round-robin marks stay by design, and so do directories.
fn files(base: &Path, dir: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // host-local's index of its leases stays, like its lock.
        if path.is_dir() && !path.ends_with(".podloom") {
            files(base, &path, lines);
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == ".podloom" || name == "lock" || name.starts_with("last_reserved_ip.") {
            continue;
        }
        let content = std::fs::read(&path).unwrap_or_default();
        let root = base.file_name().unwrap_or_default().to_string_lossy();
        let inner = path.strip_prefix(base).unwrap_or(&path).display();
        let text = String::from_utf8_lossy(&content).into_owned();
        lines.push(format!("file: {root}/{inner} {text:?}"));
    }
}
