//! The link that limits are put on, and what stands in their way there.

use crate::plan::{LIMITED, Seat, is_ifb_name};
use cni_plugin::Call;
use cni_types::{CniResult, Code, Error, Result};
use netlink::traffic::{DIRECT, Discipline, Handle, INGRESS, Qdisc, ROOT, Verdict};
use netlink::{Kind, Link, Netlink};

/// The link that limits are put on.
#[derive(Debug)]
pub(crate) struct Target {
    /// The namespace that it is in.
    pub(crate) space: Netlink,
    /// The link.
    pub(crate) link: Link,
    /// Which side of the pod it is on.
    pub(crate) seat: Seat,
}

impl Target {
    /// For a veth pair its end on the node, which the pod cannot change; for anything else, such as
    /// macvlan, the link in the pod.
    ///
    /// # Errors
    /// [`Code::InvalidEnvironment`] when the pod has no such interface; [`Code::InvalidConfig`] for
    /// one that has no traffic of its own; those of the kernel.
    pub(crate) fn find(call: &Call, result: Option<&CniResult>) -> Result<Target> {
        let ifname = call.ifname.as_str();
        let pod = Netlink::open_in(call.pod()?)?;
        let Some(link) = pod.link_by_name(ifname)? else {
            let cause = format!("CNI_IFNAME: the pod has no interface {ifname}");
            return Err(Error::new(Code::InvalidEnvironment, cause)
                .with_details("a plugin earlier in the chain makes it"));
        };
        if link.loopback {
            let cause = format!("interface {ifname}: is the pod's loopback, which has no limits");
            return Err(Error::new(Code::InvalidConfig, cause)
                .with_details("chain bandwidth behind a plugin that connects the pod"));
        }
        if link.kind == Kind::Veth {
            let node = Netlink::open()?;
            let end = veth::other_end(&node, &link)?;
            if let Some(link) = end.filter(|end| is_told(result, end)) {
                return Ok(Target { space: node, link, seat: Seat::Node });
            }
        }
        let seat = if link.kind == Kind::Tun { Seat::Guest } else { Seat::Pod };
        Ok(Target { space: pod, link, seat })
    }

    /// Puts `qdisc` at the root of its link, in place of what an earlier ADD has left there.
    ///
    /// # Errors
    /// [`Code::Conflict`] when somebody else's is there; those of the kernel.
    pub(crate) fn put_root(&self, qdisc: &Qdisc) -> Result<()> {
        match self.space.add_qdisc(qdisc) {
            Err(e) if e.is_exists() => {}
            other => return other.map_err(|e| lacking(e, qdisc)),
        }
        if !self.clear_root(qdisc.link)? {
            return Err(self.taken(ROOT));
        }
        self.space.add_qdisc(qdisc).map_err(|e| lacking(e, qdisc))
    }

    /// Puts filters for what the link receives in the way, in place of what an earlier ADD has left.
    ///
    /// # Errors
    /// As [`Target::put_root`].
    pub(crate) fn put_hook(&self) -> Result<()> {
        let hook = Qdisc::ingress(self.link.index);
        match self.space.add_qdisc(&hook) {
            Err(e) if e.is_exists() => {}
            other => return other.map_err(|e| lacking(e, &hook)),
        }
        if !self.clear_hook()? {
            return Err(self.taken(INGRESS));
        }
        self.space.add_qdisc(&hook).map_err(|e| lacking(e, &hook))
    }

    /// Takes away what this plugin, or the reference's, has put at the root of a link; says whether
    /// nothing of anybody else is there.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn clear_root(&self, link: u32) -> Result<bool> {
        let Some(found) = self.space.qdisc(link, ROOT)? else { return Ok(true) };
        let is_ours = matches!(
            found.discipline,
            Discipline::TokenBucket(_) | Discipline::Classes { default: DIRECT | LIMITED }
        );
        if !is_ours || found.handle != Handle::new(1, 0) {
            return Ok(false);
        }
        self.space.delete_qdisc(link, ROOT)?;
        Ok(true)
    }

    /// As [`Target::clear_root`], for what the target's link receives.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn clear_hook(&self) -> Result<bool> {
        let index = self.link.index;
        let Some(found) = self.space.qdisc(index, INGRESS)? else { return Ok(true) };
        if found.discipline != Discipline::Ingress {
            return Ok(false);
        }
        for filter in self.space.filters(index, found.handle)? {
            let is_ours = match filter.map(|filter| filter.verdict) {
                Some(Verdict::Pass) => true,
                // Its ifb is gone.
                Some(Verdict::Redirect(0)) => true,
                Some(Verdict::Redirect(to)) => {
                    self.space.link_by_index(to)?.is_none_or(|to| is_ifb_name(&to.name))
                }
                Some(Verdict::Class(_)) | None => false,
            };
            if !is_ours {
                return Ok(false);
            }
        }
        self.space.delete_qdisc(index, INGRESS)?;
        Ok(true)
    }

    fn taken(&self, place: Handle) -> Error {
        let what = if place == ROOT { "sends" } else { "receives" };
        let cause = format!(
            "link {}: another program has traffic control on what it {what} already",
            self.link.name
        );
        Error::new(Code::Conflict, cause)
            .with_details("'tc qdisc show' and 'tc filter show' tell which; only one can have it")
    }
}

/// Whether the earlier plugins know `end` as a link of the node. That a link has the right numbers is
/// no proof that it is the other end: in each namespace they begin anew.
fn is_told(result: Option<&CniResult>, end: &Link) -> bool {
    result.is_none_or(|result| {
        let told = |i: &cni_types::Interface| i.sandbox.is_empty() && i.name == end.name;
        result.interfaces.is_empty() || result.interfaces.iter().any(told)
    })
}

/// A refusal of the kernel, with what it may lack.
fn lacking(error: netlink::Error, qdisc: &Qdisc) -> Error {
    let kind = qdisc.discipline.kind();
    needs(error, &format!("sch_{kind}"))
}

/// A refusal of the kernel, which may lack this module.
pub(crate) fn needs(error: netlink::Error, module: &str) -> Error {
    let lacks = error.is_not_found() || error.is_unsupported();
    let error = Error::from(error);
    if !lacks {
        return error;
    }
    error.with_details(format!(
        "this takes {module}, which the kernel may lack: 'modprobe {module}'"
    ))
}
