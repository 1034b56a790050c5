//! ADD, CHECK and STATUS: what podlink does not know of this kind of link.

use crate::config::Config;
use crate::{plan, tun};
use cni_plugin::verify::drift;
use cni_plugin::{Call, NodeCall, Undo, log};
use cni_types::{Args, CniResult, Code, Error, Result};
use netlink::{Kind, Link, Netlink};
use podlink::Wish;

fn wish(config: &Config) -> Wish {
    Wish::of(Kind::Tun, &config.dns)
}

/// Makes the attachment.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf, &call.args)?;
    podlink::add(call, &wish(&config), |_, pod| {
        let bridge = bridge(pod, &config.bridge)?.map(|link| link.index);
        make(call, &config)?;
        let name = call.ifname.as_str();
        let made = Undo::new(|| log("undoing ADD", pod.delete_link_by_name(name)));
        let link = pod.expect_link(name)?;
        pod.change(link.index, &plan::settings(&config, bridge))?;
        made.keep();
        Ok(())
    })
}

fn make(call: &Call, config: &Config) -> Result<()> {
    let wish = plan::tap(config, call.ifname.as_str());
    call.pod()?.run(|| match config.selinux_context.as_str() {
        "" => tun::create(&wish),
        context => tun::create_in_context(&wish, context),
    })?
}

/// The bridge in the pod that the interface is to join, if there is to be one.
fn bridge(pod: &Netlink, name: &str) -> Result<Option<Link>> {
    if name.is_empty() {
        return Ok(None);
    }
    match pod.link_by_name(name)? {
        Some(link) if link.kind == Kind::Bridge => Ok(Some(link)),
        Some(link) => {
            let cause = format!("bridge {name:?}: is a {} in the pod", link.kind);
            Err(Error::new(Code::InvalidConfig, cause))
        }
        None => {
            let cause = format!("bridge {name:?}: there is no such link in the pod");
            Err(Error::new(Code::InvalidConfig, cause)
                .with_details("the bridge is looked for in the pod, not on the node"))
        }
    }
}

/// Compares the attachment with the result of its ADD.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf, &call.args)?;
    let link = podlink::check(call, &wish(&config))?;
    if config.bridge.is_empty() {
        return Ok(());
    }
    let master = bridge(&Netlink::open_in(call.pod()?)?, &config.bridge)?;
    if link.master == master.map(|master| master.index) {
        return Ok(());
    }
    Err(drift(format!("interface {}", link.name), format!("is no port of {}", config.bridge)))
}

/// Whether the kernel makes TAP interfaces at all.
pub(crate) fn ready(call: &NodeCall) -> Result<()> {
    Config::read(&call.conf, &Args::default())?;
    tun::available()
}
