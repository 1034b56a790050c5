//! Masquerade over iptables: one chain per container and network, one jump to it per address.
//!
//! The reference names the chain by network and container only. A container with two interfaces
//! in one network therefore shares its chain between them; `kin` below are the addresses of the
//! other interfaces, which must survive.

use super::{Masquerade, Owner};
use crate::iptables::{
    Family, Running, SavedRule, Script, has_legacy_table, is_installed, quoted, rules_of,
    rules_of_table,
};
use crate::names::{chain_name, iptables_comment, parse_iptables_comment};
use crate::nft::{self, Nft};
use cni_types::{Attachment, Code, Error, Result};
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;

const TABLE: &str = "nat";

/// Names of a container's rules.
struct Names {
    chain: String,
    /// As an argument.
    comment: String,
}

impl Names {
    fn of(owner: &Owner<'_>) -> Names {
        Names {
            chain: chain_name("", owner.network, owner.container_id),
            comment: quoted(&iptables_comment(owner.network, owner.container_id)),
        }
    }

    fn accept(&self, net: IpNetwork) -> String {
        let Names { chain, comment } = self;
        let (network, prefix) = (net.network(), net.prefix());
        format!("{chain} -d {network}/{prefix} -j ACCEPT -m comment --comment {comment}")
    }

    fn masquerade(&self, family: Family) -> String {
        let Names { chain, comment } = self;
        let multicast = match family {
            Family::V4 => "224.0.0.0/4",
            Family::V6 => "ff00::/8",
        };
        format!("{chain} ! -d {multicast} -j MASQUERADE -m comment --comment {comment}")
    }

    fn jump(&self, net: IpNetwork) -> String {
        let Names { chain, comment } = self;
        let ip = net.ip();
        format!("POSTROUTING -s {ip} -j {chain} -m comment --comment {comment}")
    }
}

pub(super) fn record_body(addresses: &[IpNetwork]) -> String {
    let lines: String = addresses.iter().map(|net| format!("{net}\n")).collect();
    format!("iptables\n{lines}")
}

fn of_family(family: Family, addresses: &[IpNetwork]) -> Vec<IpNetwork> {
    addresses.iter().copied().filter(|net| Family::of(net.ip()) == family).collect()
}

fn subnets(addresses: &[IpNetwork]) -> Vec<(std::net::IpAddr, u8)> {
    addresses.iter().map(|net| (net.network(), net.prefix())).collect()
}

/// The transaction of ADD in `family`; `None` if it has no address.
fn setup_script(
    family: Family,
    names: &Names,
    addresses: &[IpNetwork],
    kin: &[IpNetwork],
) -> Option<Script> {
    let (mine, kin) = (of_family(family, addresses), of_family(family, kin));
    if mine.is_empty() {
        return None;
    }
    let mut script = Script::new(family, TABLE);
    if kin.is_empty() {
        script.line(format_args!(":{} - [0:0]", names.chain));
    }
    let known = subnets(&kin);
    for (i, net) in mine.iter().enumerate() {
        let subnet = (net.network(), net.prefix());
        if !known.contains(&subnet) && !subnets(&mine[..i]).contains(&subnet) {
            // In front, for in a chain with kin the catch-all is there already.
            script.line(format_args!("-I {}", names.accept(*net)));
        }
    }
    if kin.is_empty() {
        script.line(format_args!("-A {}", names.masquerade(family)));
    }
    for net in mine {
        script.line(format_args!("-A {}", names.jump(net)));
    }
    Some(script)
}

/// The transaction of DEL in `family`, right if the rules are as ADD left them.
fn delete_script(
    family: Family,
    names: &Names,
    addresses: &[IpNetwork],
    kin: &[IpNetwork],
) -> Option<Script> {
    let mine = of_family(family, addresses);
    if mine.is_empty() {
        return None;
    }
    let mut script = Script::new(family, TABLE);
    for net in mine {
        script.line(format_args!("-D {}", names.jump(net)));
    }
    if of_family(family, kin).is_empty() {
        script.line(format_args!("-F {}", names.chain));
        script.line(format_args!("-X {}", names.chain));
    }
    Some(script)
}

/// Transactions of both families, running at the same time.
pub(super) struct Transactions(Vec<Result<Running>>);

impl Transactions {
    fn start(scripts: impl IntoIterator<Item = Script>) -> Transactions {
        Transactions(scripts.into_iter().map(Script::spawn).collect())
    }

    /// Waits for all.
    pub(super) fn finish(self) -> Result<()> {
        Error::collect(self.0.into_iter().map(|started| started?.finish()))
    }
}

pub(super) fn setup(wish: &Masquerade<'_>, kin: &[IpNetwork]) -> Result<()> {
    let names = Names::of(&wish.owner);
    let script = |family: &Family| setup_script(*family, &names, wish.addresses, kin);
    Transactions::start(Family::ALL.iter().filter_map(script)).finish()
}

/// Begins to delete rules, which fails if they are not as recorded; what is left then is for
/// [`delete_found`], which also says why if it cannot be deleted.
pub(super) fn delete_recorded(
    owner: &Owner<'_>,
    addresses: &[IpNetwork],
    kin: &[IpNetwork],
) -> Transactions {
    let names = Names::of(owner);
    let script = |family: &Family| delete_script(*family, &names, addresses, kin);
    Transactions::start(Family::ALL.iter().filter_map(script))
}

/// Whether `chain` can be there; without a process. The legacy tables do not tell their chains.
fn may_exist(nft: Option<&mut Nft>, family: Family, chain: &str) -> bool {
    let at = nft::ChainRef::new(family.over_nft(), TABLE, chain);
    let in_nft = nft.is_some_and(|nft| matches!(nft.chain(at), Ok(Some(_))));
    (in_nft || has_legacy_table(family, TABLE)) && is_installed(family)
}

/// Deletes whatever rules of `owner` are there, but those for the addresses of its kin.
pub(super) fn delete_found(
    mut nft: Option<&mut Nft>,
    owner: &Owner<'_>,
    kin: &[IpNetwork],
) -> Result<()> {
    let names = Names::of(owner);
    Error::collect(Family::ALL.map(|family| {
        if !may_exist(nft.as_deref_mut(), family, &names.chain) {
            return Ok(());
        }
        let kin = of_family(family, kin);
        let mut jumps = rules_of(family, TABLE, "POSTROUTING")?;
        jumps.retain(|rule| rule.target() == Some(&names.chain) && !is_for(rule, &kin));
        let mut script = Script::new(family, TABLE);
        remove_lines(&mut script, &names.chain, &jumps, kin.is_empty());
        script.run()
    }))
}

fn is_for(rule: &SavedRule, addresses: &[IpNetwork]) -> bool {
    let source = rule.value("-s").and_then(|text| text.parse::<IpNetwork>().ok());
    source.is_some_and(|source| addresses.iter().any(|net| net.ip() == source.ip()))
}

/// Deletes `jumps` and, if `whole`, the chain; it need not be there.
fn remove_lines(script: &mut Script, chain: &str, jumps: &[SavedRule], whole: bool) {
    if whole {
        script.line(format_args!(":{chain} - [0:0]"));
    }
    for jump in jumps {
        script.line(format_args!("-D {} {}", jump.chain, jump.spec));
    }
    if whole {
        script.line(format_args!("-X {chain}"));
    }
}

pub(super) fn check(wish: &Masquerade<'_>) -> Result<()> {
    let names = Names::of(&wish.owner);
    let scripts = Family::ALL.iter().filter_map(|family| {
        let mine = of_family(*family, wish.addresses);
        let mut script = Script::new(*family, TABLE);
        for net in &mine {
            script.line(format_args!("-C {}", names.accept(*net)));
            script.line(format_args!("-C {}", names.jump(*net)));
        }
        script.line(format_args!("-C {}", names.masquerade(*family)));
        (!mine.is_empty()).then_some(script)
    });
    let running: Vec<_> = scripts.map(Script::spawn).collect::<Result<_>>()?;
    Error::collect(running.into_iter().map(|started| {
        started.finish().map_err(|e| Error { code: Code::Drift, ..e }.context("masquerade"))
    }))
}

/// Removes the chains of containers of `network` that are in no valid attachment.
pub(super) fn gc(mut nft: Option<&mut Nft>, network: &str, valid: &[Attachment]) -> Result<()> {
    Error::collect(Family::ALL.map(|family| {
        if !any_chain_may_exist(nft.as_deref_mut(), family) {
            return Ok(());
        }
        let rules = rules_of_table(family, TABLE)?;
        let stale = stale_chains(&rules, network, valid);
        if stale.is_empty() {
            return Ok(());
        }
        let mut script = Script::new(family, TABLE);
        for (chain, jumps) in &stale {
            remove_lines(&mut script, chain, jumps, true);
        }
        script.run()
    }))
}

/// Whether there are chains with names of this kind; without a process.
fn any_chain_may_exist(nft: Option<&mut Nft>, family: Family) -> bool {
    let chains = nft.map(|nft| nft.chains(family.over_nft(), TABLE));
    let in_nft =
        matches!(chains, Some(Ok(chains)) if chains.iter().any(|c| c.name.starts_with("CNI-")));
    (in_nft || has_legacy_table(family, TABLE)) && is_installed(family)
}

/// Chains of `network` without a valid attachment, each with the rules that jump to it.
fn stale_chains(
    rules: &[SavedRule],
    network: &str,
    valid: &[Attachment],
) -> BTreeMap<String, Vec<SavedRule>> {
    let mut stale: BTreeMap<String, Vec<SavedRule>> = BTreeMap::new();
    for rule in rules {
        let Some((name, id)) = rule.comment().and_then(parse_iptables_comment) else { continue };
        if name != network || valid.iter().any(|a| a.container_id == id) {
            continue;
        }
        // The comment is in use for other kinds of rules too; only the hash makes it ours.
        let chain = chain_name("", network, id);
        if rule.chain == chain {
            stale.entry(chain).or_default();
        } else if rule.target() == Some(&chain) {
            stale.entry(chain).or_default().push(rule.clone());
        }
    }
    stale
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner<'static> = Owner { network: "net", container_id: "cid", ifname: "eth0" };

    fn nets(list: &[&str]) -> Vec<IpNetwork> {
        list.iter().map(|text| text.parse().expect("network")).collect()
    }

    #[test]
    fn add_and_del_are_one_transaction_each() {
        let (names, mine) = (Names::of(&OWNER), nets(&["10.1.0.5/16", "fd00::5/64"]));
        let comment = r#"-m comment --comment "name: \"net\" id: \"cid\"""#;
        let c = &names.chain;
        let add = setup_script(Family::V4, &names, &mine, &[]).expect("v4");
        assert_eq!(
            add.text(),
            format!(
                "*nat\n:{c} - [0:0]\n-I {c} -d 10.1.0.0/16 -j ACCEPT {comment}\n\
                 -A {c} ! -d 224.0.0.0/4 -j MASQUERADE {comment}\n\
                 -A POSTROUTING -s 10.1.0.5 -j {c} {comment}\n"
            )
        );
        let del = delete_script(Family::V6, &names, &mine, &[]).expect("v6");
        assert_eq!(
            del.text(),
            format!("*nat\n-D POSTROUTING -s fd00::5 -j {c} {comment}\n-F {c}\n-X {c}\n")
        );
        assert_eq!(setup_script(Family::V6, &names, &mine[..1], &[]), None);
    }

    #[test]
    fn kin_keep_the_chain() {
        let (names, kin) = (Names::of(&OWNER), nets(&["10.1.0.9/16"]));
        let add = setup_script(Family::V4, &names, &nets(&["10.1.0.5/16"]), &kin).expect("v4");
        assert_eq!(add.text().lines().count(), 2, "{}", add.text());
        let add = setup_script(Family::V4, &names, &nets(&["10.2.0.5/16"]), &kin).expect("v4");
        assert!(add.text().contains("-I "), "{}", add.text());
        assert!(!add.text().contains(":CNI"), "{}", add.text());
        let del = delete_script(Family::V4, &names, &nets(&["10.1.0.5/16"]), &kin).expect("v4");
        assert!(!del.text().contains("-X"), "{}", del.text());
    }

    #[test]
    fn only_chains_of_the_network_without_attachment_are_stale() {
        let of = |network: &str, id: &str| {
            let chain = chain_name("", network, id);
            let comment = quoted(&iptables_comment(network, id));
            [
                format!("-A POSTROUTING -s 10.0.0.5/32 -m comment --comment {comment} -j {chain}"),
                format!("-A {chain} -d 10.0.0.0/8 -m comment --comment {comment} -j ACCEPT"),
                format!("-A CNI-DN-x -m comment --comment {comment} -j OTHER"),
            ]
        };
        let lines = [of("net", "gone"), of("net", "kept"), of("other", "gone")].concat();
        let rules: Vec<_> = lines.iter().filter_map(|l| SavedRule::parse(l)).collect();
        let valid = [Attachment { container_id: "kept".to_owned(), ifname: "eth0".to_owned() }];
        let stale = stale_chains(&rules, "net", &valid);
        assert_eq!(stale.keys().collect::<Vec<_>>(), [&chain_name("", "net", "gone")]);
        assert_eq!(stale.values().next().map(Vec::len), Some(1));
    }
}
