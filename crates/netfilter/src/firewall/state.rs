//! Who has what: small files, in a directory that a reboot empties, as it does the rules.
//!
//! ```text
//! firewall/lock                            held while shared rules are made or removed
//! firewall/records/<key>/<ifname>          what an attachment has
//! firewall/addresses/<ip>                  whose address it is: the attachment that got it last
//! firewall/bridges/<bridge>/<policy>-<backend>/<key>
//!                                          who wants a bridge isolated
//! firewall/suspects                        addresses that no runtime knew at the last look
//! ```

use super::{Backend, Owner, Policy};
use crate::names::sha256_key;
use crate::record::{Records, Stored, make_private, run_dir};
use cni_types::{Attachment, Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A user of a bridge's isolation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) bridge: String,
    pub(super) policy: Policy,
    /// Where the rules are.
    pub(super) place: Backend,
}

/// What a record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) backend: Option<Backend>,
    /// The zone of firewalld that the addresses were put in.
    pub(super) zone: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) user: Option<User>,
    /// A port whose bridged frames are dropped.
    pub(super) port: Option<String>,
    /// A link whose frames are looked at, and the addresses that they may come from.
    pub(super) guarded: Option<(String, Vec<IpAddr>)>,
}

impl Rules {
    fn body(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(self.backend.map(|backend| format!("backend {}", backend.as_str())));
        lines.extend(self.zone.as_ref().map(|zone| format!("zone {zone}")));
        lines.extend(self.addresses.iter().map(|ip| format!("address {ip}")));
        lines.extend(self.user.as_ref().map(|user| {
            let (policy, place) = (user.policy.as_str(), user.place.as_str());
            format!("bridge {policy} {place} {}", user.bridge)
        }));
        lines.extend(self.port.as_ref().map(|port| format!("port {port}")));
        lines.extend(self.guarded.as_ref().map(|(link, addresses)| {
            let list: String = addresses.iter().map(|ip| format!(" {ip}")).collect();
            format!("guard {link}{list}")
        }));
        lines.push(String::new());
        lines.join("\n")
    }

    fn parse(body: &[String]) -> Rules {
        let mut rules = Rules::default();
        for (key, value) in body.iter().filter_map(|line| line.split_once(' ')) {
            match key {
                "backend" => rules.backend = Backend::parse(value),
                "zone" => rules.zone = Some(value.to_owned()),
                "address" => rules.addresses.extend(value.parse::<IpAddr>().ok()),
                "bridge" => rules.user = User::parse(value),
                "port" => rules.port = Some(value.to_owned()),
                "guard" => {
                    let mut words = value.split(' ');
                    let link = words.next().unwrap_or_default().to_owned();
                    rules.guarded = Some((link, words.filter_map(|ip| ip.parse().ok()).collect()));
                }
                _ => {}
            }
        }
        rules
    }
}

impl User {
    fn parse(value: &str) -> Option<User> {
        let mut words = value.splitn(3, ' ');
        let (policy, place, bridge) = (words.next()?, words.next()?, words.next()?);
        let policy = Policy::ALL.into_iter().find(|p| p.as_str() == policy)?;
        Some(User { bridge: bridge.to_owned(), policy, place: Backend::parse(place)? })
    }
}

/// The files of this node.
#[derive(Clone, Debug)]
pub(super) struct State {
    dir: PathBuf,
    records: Records,
}

fn fault(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::io(path.display(), &e)
}

fn owner_text(owner: &Owner<'_>) -> String {
    format!("{}\n{}\n{}\n", owner.network, owner.container_id, owner.ifname)
}

impl State {
    pub(super) fn of_node() -> State {
        State { dir: run_dir().join("firewall"), records: Records::of("firewall/records") }
    }

    /// For changes of what attachments share.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.dir.join("lock");
        make_private(&self.dir).map_err(fault(&self.dir))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(fault(&path))?;
        file.lock().map_err(fault(&path))?;
        Ok(file)
    }

    /// What `owner` has; `None` if it has nothing.
    pub(super) fn rules(&self, owner: &Owner<'_>) -> Result<Option<Rules>> {
        Ok(self.records.read(owner)?.map(|stored| Rules::parse(&stored.body)))
    }

    /// Records what `owner` is about to get; a record that is there already says the same.
    pub(super) fn remember(&self, owner: &Owner<'_>, rules: &Rules) -> Result<()> {
        self.records.claim(owner, &rules.body()).map(drop)
    }

    pub(super) fn forget(&self, owner: &Owner<'_>) -> Result<()> {
        self.records.remove(owner)
    }

    /// Records of attachments of `network` that are not valid, and files of processes that were
    /// killed before they wrote a word.
    pub(super) fn stale(
        &self,
        network: &str,
        valid: &[Attachment],
    ) -> Result<(Vec<Stored>, Vec<PathBuf>)> {
        let mut all = self.records.all()?;
        all.stored.retain(|stored| {
            let owner = stored.owner();
            let is_it =
                |a: &Attachment| a.container_id == owner.container_id && a.ifname == owner.ifname;
            owner.network == network && !valid.iter().any(is_it)
        });
        Ok((all.stored, all.blank))
    }

    fn address(&self, ip: IpAddr) -> PathBuf {
        self.dir.join("addresses").join(ip.to_string())
    }

    /// Makes `owner` the one that has `ip`: an address that is given out again is no longer that of
    /// the attachment before.
    pub(super) fn take_address(&self, ip: IpAddr, owner: &Owner<'_>) -> Result<()> {
        let path = self.address(ip);
        let text = owner_text(owner);
        let written = match fs::write(&path, &text) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let dir = self.dir.join("addresses");
                make_private(&dir).map_err(fault(&dir))?;
                fs::write(&path, &text)
            }
            other => other,
        };
        written.map_err(fault(&path))
    }

    fn holder(&self, ip: IpAddr) -> Result<Option<String>> {
        let path = self.address(ip);
        match fs::read(&path) {
            // Cut off at its birth: nobody's yet.
            Ok(bytes) if bytes.iter().filter(|b| **b == b'\n').count() < 3 => Ok(None),
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fault(&path)(e)),
        }
    }

    /// Whether `ip` is that of `owner`, or of nobody that is known.
    pub(super) fn may_be_of(&self, ip: IpAddr, owner: &Owner<'_>) -> Result<bool> {
        Ok(self.holder(ip)?.is_none_or(|holder| holder == owner_text(owner)))
    }

    /// Whether `ip` is that of an attachment of ours.
    pub(super) fn is_taken(&self, ip: IpAddr) -> Result<bool> {
        Ok(self.holder(ip)?.is_some())
    }

    pub(super) fn free_address(&self, ip: IpAddr, owner: &Owner<'_>) -> Result<()> {
        if !self.may_be_of(ip, owner)? {
            return Ok(());
        }
        let path = self.address(ip);
        absent_is_fine(fs::remove_file(&path)).map_err(fault(&path))
    }

    fn users(&self, user: &User) -> PathBuf {
        let kind = format!("{}-{}", user.policy.as_str(), user.place.as_str());
        self.dir.join("bridges").join(&user.bridge).join(kind)
    }

    /// Notes a user of a bridge's isolation; under [`State::lock`].
    pub(super) fn join(&self, user: &User, owner: &Owner<'_>) -> Result<()> {
        let dir = self.users(user);
        make_private(&dir).map_err(fault(&dir))?;
        let path = dir.join(key(owner));
        let written =
            File::create(&path).and_then(|mut f| f.write_all(owner_text(owner).as_bytes()));
        written.map_err(fault(&path))
    }

    /// Strikes a user off; whether there is none left. Under [`State::lock`].
    pub(super) fn leave(&self, user: &User, owner: &Owner<'_>) -> Result<bool> {
        let dir = self.users(user);
        let path = dir.join(key(owner));
        absent_is_fine(fs::remove_file(&path)).map_err(fault(&path))?;
        match fs::remove_dir(&dir) {
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => return Ok(false),
            other => absent_is_fine(other).map_err(fault(&dir))?,
        }
        // The bridge's own directory goes with its last policy.
        if let Some(bridge) = dir.parent() {
            match fs::remove_dir(bridge) {
                Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {}
                other => absent_is_fine(other).map_err(fault(bridge))?,
            }
        }
        Ok(true)
    }

    /// Where the suspects of the last look are.
    pub(super) fn suspects(&self) -> PathBuf {
        self.dir.join("suspects")
    }
}

fn key(owner: &Owner<'_>) -> String {
    sha256_key(&[owner.network, owner.container_id, owner.ifname])
}

fn absent_is_fine(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Owner<'static> = Owner { network: "n", container_id: "a", ifname: "eth0" };
    const B: Owner<'static> = Owner { container_id: "b", ..A };

    fn scratch(name: &str) -> State {
        let dir = std::env::temp_dir().join(format!("podloom-fw-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        State { records: Records::at(&dir.join("records")), dir }
    }

    #[test]
    fn a_record_reads_back() {
        let state = scratch("record");
        let rules = Rules {
            backend: Some(Backend::Firewalld),
            zone: Some("work zone".to_owned()),
            addresses: vec!["10.0.0.5".parse().expect("v4"), "fd00::5".parse().expect("v6")],
            user: Some(User {
                bridge: "br 0".to_owned(),
                policy: Policy::Isolated,
                place: Backend::Iptables,
            }),
            port: Some("veth1".to_owned()),
            guarded: Some(("veth1".to_owned(), vec!["fe80::1".parse().expect("v6")])),
        };
        assert_eq!(state.rules(&A).expect("none"), None);
        state.remember(&A, &rules).expect("remember");
        assert_eq!(state.rules(&A).expect("read"), Some(rules));
        state.forget(&A).expect("forget");
        fs::remove_dir_all(&state.dir).expect("clean");
    }

    #[test]
    fn an_address_is_that_of_the_last_who_got_it() {
        let state = scratch("address");
        let ip: IpAddr = "10.0.0.5".parse().expect("address");
        assert!(state.may_be_of(ip, &A).expect("nobody's"));
        state.take_address(ip, &A).expect("take");
        state.take_address(ip, &B).expect("take");
        assert!(!state.may_be_of(ip, &A).expect("not A's"));
        state.free_address(ip, &A).expect("not A's to free");
        assert!(state.is_taken(ip).expect("B's"));
        state.free_address(ip, &B).expect("free");
        assert!(!state.is_taken(ip).expect("nobody's"));
        fs::write(state.address(ip), "n\n").expect("cut off");
        assert!(state.may_be_of(ip, &B).expect("nobody's"));
        fs::remove_dir_all(&state.dir).expect("clean");
    }

    #[test]
    fn the_last_user_is_told() {
        let state = scratch("users");
        let user = |policy| User { bridge: "br0".to_owned(), policy, place: Backend::Nftables };
        let (wide, narrow) = (user(Policy::SameBridge), user(Policy::Isolated));
        for (user, owner) in [(&wide, &A), (&wide, &B), (&narrow, &A)] {
            state.join(user, owner).expect("join");
            state.join(user, owner).expect("again");
        }
        assert!(!state.leave(&wide, &A).expect("B is left"));
        assert!(state.leave(&narrow, &A).expect("the only one"));
        assert!(state.leave(&wide, &B).expect("the last"));
        assert!(state.leave(&wide, &B).expect("again: rules may be left"));
        assert!(!state.dir.join("bridges/br0").exists());
        fs::remove_dir_all(&state.dir).expect("clean");
    }
}
