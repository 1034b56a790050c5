//! Device rules, parsed once; and what they mean on v1, where the kernel has its own order.

use crate::error::{Error, Kind, Result};
use runtime_spec::{DeviceKind, DeviceRule};
use std::fmt;

/// Making a device file.
pub(crate) const MKNOD: u8 = 1;
/// Reading from it.
pub(crate) const READ: u8 = 2;
/// Writing to it.
pub(crate) const WRITE: u8 = 4;
/// All of them.
pub(crate) const ALL: u8 = MKNOD | READ | WRITE;

/// Kinds of devices that rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Type {
    Block,
    Char,
}

/// The devices of a rule; `None` stands for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match {
    pub(crate) kind: Option<Type>,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

/// A rule that is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) on: Match,
    pub(crate) access: u8,
}

impl Rule {
    pub(crate) fn parse(rule: &DeviceRule) -> Result<Self> {
        let bad = |what: String, why: &str| Error::invalid(format!("device rule: {what}"), why);
        let kind = match rule.kind {
            None | Some(DeviceKind::All) => None,
            Some(DeviceKind::Char | DeviceKind::Unbuffered) => Some(Type::Char),
            Some(DeviceKind::Block) => Some(Type::Block),
            Some(DeviceKind::Pipe) => {
                return Err(bad("type p".into(), "pipes are not subject to device rules"));
            }
        };
        let number = |n: Option<i64>, what: &str| match n {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n)
                .map(Some)
                .map_err(|_| bad(format!("{what} {n}"), "want a device number, or -1 for all")),
        };
        let mut access = 0;
        for letter in rule.access.as_deref().unwrap_or("rwm").chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                // In rules that other runtimes take, where it adds nothing to what is beside it.
                'a' => 0,
                _ => return Err(bad(format!("access {letter:?}"), "want letters of rwm")),
            };
        }
        let access = if access == 0 { ALL } else { access };
        let on = Match {
            kind,
            major: number(rule.major, "major")?,
            minor: number(rule.minor, "minor")?,
        };
        Ok(Self { allow: rule.allow, on, access })
    }

    pub(crate) fn parse_all(rules: &[DeviceRule]) -> Result<Vec<Rule>> {
        rules.iter().map(Rule::parse).collect()
    }

    /// Whether the rule decides everything before it.
    pub(crate) fn is_total(&self) -> bool {
        self.on == Match::ANY && self.access == ALL
    }
}

impl Match {
    pub(crate) const ANY: Match = Match { kind: None, major: None, minor: None };

    fn covers(&self, other: &Match) -> bool {
        let one = |a: Option<u32>, b: Option<u32>| a.is_none() || a == b;
        (self.kind.is_none() || self.kind == other.kind)
            && one(self.major, other.major)
            && one(self.minor, other.minor)
    }

    fn meets(&self, other: &Match) -> bool {
        let one = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        (self.kind.is_none() || other.kind.is_none() || self.kind == other.kind)
            && one(self.major, other.major)
            && one(self.minor, other.minor)
    }
}

/// The state of a v1 device group: what holds for all, and exceptions from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct V1 {
    pub(crate) allow: bool,
    except: Exceptions,
}

/// Each once, in the order of the rules: config-linux.md, Allowed Device list.
type Exceptions = Vec<(Match, u8)>;

fn entry(list: &mut Exceptions, on: Match) -> &mut u8 {
    let at = list.iter().position(|(known, _)| *known == on).unwrap_or_else(|| {
        list.push((on, 0));
        list.len() - 1
    });
    &mut list[at].1
}

fn access_of(list: &Exceptions, on: &Match) -> u8 {
    list.iter().find(|(known, _)| known == on).map_or(0, |(_, access)| *access)
}

/// A write to a v1 device group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct V1Write {
    pub(crate) file: &'static str,
    pub(crate) line: String,
}

impl V1 {
    /// What rules mean; the last that matches decides, and without any, nothing is allowed.
    pub(crate) fn of(rules: &[Rule]) -> Result<Self> {
        let mut state = V1 { allow: false, except: Vec::new() };
        for rule in rules {
            if rule.is_total() {
                state = V1 { allow: rule.allow, except: Vec::new() };
                continue;
            }
            // v1 knows no rule for both kinds with a number.
            let kinds = match rule.on.kind {
                None => vec![Some(Type::Block), Some(Type::Char)],
                some => vec![some],
            };
            for kind in kinds {
                state.apply(&Rule { on: Match { kind, ..rule.on }, ..*rule })?;
            }
        }
        Ok(state)
    }

    fn apply(&mut self, rule: &Rule) -> Result<()> {
        if rule.allow != self.allow {
            *entry(&mut self.except, rule.on) |= rule.access;
            return Ok(());
        }
        for (on, access) in &mut self.except {
            if *access & rule.access == 0 || !rule.on.meets(on) {
                continue;
            }
            if !rule.on.covers(on) {
                return Err(Error::new(
                    Kind::Unsupported,
                    format_args!("device rule {} {}", on, letters(rule.access)),
                    format_args!("cgroup v1 cannot except {} from it", rule.on),
                ));
            }
            *access &= !rule.access;
        }
        self.except.retain(|(_, access)| *access != 0);
        Ok(())
    }

    /// The state told by `devices.list`.
    pub(crate) fn read(list: &str) -> Self {
        let mut except = Vec::new();
        for line in list.lines() {
            let mut parts = line.split([' ', ':']);
            let kind = match parts.next() {
                Some("a") => return V1 { allow: true, except: Vec::new() },
                Some("b") => Some(Type::Block),
                Some("c") => Some(Type::Char),
                _ => continue,
            };
            let major = parts.next().and_then(|n| n.parse().ok());
            let minor = parts.next().and_then(|n| n.parse().ok());
            let bit = |c| match c {
                'r' => READ,
                'w' => WRITE,
                _ => MKNOD,
            };
            let access = parts.next().unwrap_or("").chars().map(bit).fold(0, |a, b| a | b);
            *entry(&mut except, Match { kind, major, minor }) |= access;
        }
        V1 { allow: false, except }
    }

    /// The writes that lead from `now` here. Nothing that both states allow is refused meanwhile,
    /// except when what holds for all changes.
    pub(crate) fn from(&self, now: &V1) -> Vec<V1Write> {
        let file = |allow| if allow { "devices.allow" } else { "devices.deny" };
        // A list that allows all does not show its exceptions: it is always written anew.
        let fresh = self.allow || now.allow;
        let mut writes = Vec::new();
        if fresh {
            writes.push(V1Write { file: file(self.allow), line: "a".into() });
        }
        let none = Vec::new();
        let old = if fresh { &none } else { &now.except };
        let less = |a: &Exceptions, b: &Exceptions, file: &'static str| {
            let rest = |(on, access): &(Match, u8)| {
                let rest = access & !access_of(b, on);
                let line = format!("{on} {}", letters(rest));
                (rest != 0).then_some(V1Write { file, line })
            };
            a.iter().filter_map(rest).collect::<Vec<_>>()
        };
        writes.extend(less(&self.except, old, file(!self.allow)));
        writes.extend(less(old, &self.except, file(self.allow)));
        writes
    }
}

impl V1 {
    /// What is allowed, in systemd's words (`DeviceAllow` of systemd.resource-control(5)); `None`
    /// when it has none for it. `numbers` is the text of `/proc/devices`.
    pub(crate) fn allowed(&self, numbers: &str) -> Option<Vec<(String, String)>> {
        if self.allow {
            return None;
        }
        let one = |(on, access): &(Match, u8)| {
            let kind = if on.kind? == Type::Block { "block" } else { "char" };
            let name = match (on.major, on.minor) {
                (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
                (Some(major), None) => format!("{kind}-{}", driver(numbers, on.kind?, major)?),
                (None, None) => format!("{kind}-*"),
                (None, Some(_)) => return None,
            };
            Some((name, letters(*access)))
        };
        self.except.iter().map(one).collect()
    }
}

/// The name by which systemd knows all devices of a number: that number's alone.
fn driver(numbers: &str, kind: Type, major: u32) -> Option<&str> {
    let (chars, blocks) = numbers.split_once("Block devices:")?;
    let part = if kind == Type::Block { blocks } else { chars };
    let lines = || part.lines().filter_map(|l| l.trim().split_once(' '));
    let (_, name) = lines().find(|(n, _)| n.parse() == Ok(major))?;
    (lines().filter(|(_, other)| *other == name).count() == 1).then_some(name)
}

/// Access as the letters of v1.
pub(crate) fn letters(access: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| access & bit != 0)
        .map(|(_, c)| *c)
        .collect()
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            None => 'a',
            Some(Type::Block) => 'b',
            Some(Type::Char) => 'c',
        };
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{}", number(self.major), number(self.minor))
    }
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
