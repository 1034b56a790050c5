//! The pod's side: its interface, addresses and routes.

use crate::config::Config;
use crate::plan::Plan;
use crate::tune::best_effort;
use cni_plugin::Call;
use cni_types::{Code, Error, Result};
use netlink::{Link, Netlink, Watch};
use std::time::Duration;
use sysctl::Family;

/// How long IPv6 may take to find out whether an address is somebody else's.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// The pod, as seen through a socket in its namespace.
pub(crate) struct Pod {
    pub(crate) netlink: Netlink,
    /// Its interface, as it was made.
    pub(crate) link: Link,
    watch: Option<Watch>,
    /// Interfaces on which IPv6 was off.
    without_v6: Vec<String>,
}

impl Pod {
    /// Enters the pod once: takes a socket out, and sets what only a thread inside can.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn enter(call: &Call, config: &Config) -> Result<Pod> {
        call.pod()?.run(|| Pod::visit(call.ifname.as_str(), config))?
    }

    fn visit(ifname: &str, config: &Config) -> Result<Pod> {
        let netlink = Netlink::open()?;
        let link = netlink.expect_link(ifname)?;
        let watch = if config.probe { Some(Watch::open()?) } else { None };
        let mut without_v6 = Vec::new();
        if config.layer3 {
            let v6 = |leaf| sysctl::interface(Family::V6, ifname, leaf);
            best_effort(&v6("accept_dad"), if config.probe { "1" } else { "0" });
            if config.probe {
                best_effort(&v6("enhanced_dad"), "1");
            }
            // An address that the pod was given stays its own while the link is down.
            best_effort(&v6("keep_addr_on_down"), "1");
            // Neighbours hear at once who has the address now.
            best_effort(&sysctl::interface(Family::V4, ifname, "arp_notify"), "1");
            for name in ["lo", ifname] {
                let key = sysctl::interface(Family::V6, name, "disable_ipv6");
                if sysctl::read(&key).is_ok_and(|value| value != "0") {
                    without_v6.push(key);
                }
            }
        }
        Ok(Pod { netlink, link, watch, without_v6 })
    }

    /// Gives the pod its addresses, sets its interface up, and gives it its routes.
    ///
    /// # Errors
    /// [`Code::Conflict`] for an address that somebody else on the bridge has; those of the
    /// kernel.
    pub(crate) fn configure(&self, call: &Call, config: &Config, plan: &Plan) -> Result<()> {
        if plan.has_v6() && !self.without_v6.is_empty() {
            let keys = &self.without_v6;
            call.pod()?.run(|| -> Result<()> {
                for key in keys {
                    sysctl::write(key, "0")?;
                }
                Ok(())
            })??;
        }
        for ip in &plan.ips {
            self.netlink.add_address(self.link.index, ip.address, config.probe)?;
        }
        if config.pod_up {
            self.netlink.set_up(self.link.index)?;
        }
        if let Some(watch) = self.watch.as_ref().filter(|_| plan.has_v6()) {
            self.probe(watch)?;
        }
        for route in plan.kernel_routes(self.link.index) {
            match self.netlink.append_route(&route) {
                // The very same route came with an address.
                Err(e) if e.is_exists() => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn probe(&self, watch: &Watch) -> Result<()> {
        let addresses = watch.settled(&self.netlink, self.link.index, PROBE_LIMIT)?;
        let name = &self.link.name;
        for address in addresses {
            let network = address.network;
            if address.duplicate {
                return Err(Error::new(
                    Code::Conflict,
                    format!("address {network} on {name}: another host on the bridge has it"),
                )
                .with_details("look for a host with a fixed address inside the IPAM range"));
            }
            if address.tentative {
                let seconds = PROBE_LIMIT.as_secs();
                return Err(Error::new(
                    Code::Kernel,
                    format!("address {network} on {name}: still probed after {seconds} s"),
                ));
            }
        }
        Ok(())
    }
}
