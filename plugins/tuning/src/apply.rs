//! ADD, DEL and CHECK: what was there before is kept, then everything is set.

use crate::allowlist::Allowlist;
use crate::backup::{Backup, Kept, Store};
use crate::config::{self, Config};
use crate::plan;
use cni_plugin::verify::drift;
use cni_plugin::{Call, Gate, Undo, log};
use cni_types::{CniResult, Code, Error, Result};
use netlink::{Link, Netlink};

/// Sets what the configuration asks for, and reports it.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::of(call)?;
    let before = call.prev_result()?;
    if !config.tunes_link() && config.sysctls.is_empty() {
        return Ok(before.clone());
    }
    if !config.sysctls.is_empty() {
        Allowlist::of_node()?.permit(&config.sysctls)?;
    }
    let store = Store::of(call, &config.data_dir);
    // GC does not take the file for one that a killed ADD left before it was whole.
    let _gate = Gate::shared()?;
    call.pod()?.run(|| tune(call, &config, &store))??;
    Ok(plan::result(&config, call.ifname.as_str(), before))
}

/// Does the work of ADD, in the pod's namespace.
fn tune(call: &Call, config: &Config, store: &Store) -> Result<()> {
    let pod = Netlink::open()?;
    let link = if config.tunes_link() { Some(interface(&pod, call)?) } else { None };
    let mut backup = Backup::take(call, config, link.as_ref())?;
    let space = call.pod()?;
    if let Kept::Values(earlier) = store.read()?
        && earlier.is_of(space)
    {
        backup = backup.behind(*earlier);
    }
    store.write(&backup)?;
    let undo = Undo::new(|| {
        backup.put_back(space, call.ifname.as_str());
        log("undoing ADD", store.remove());
    });
    set_sysctls(call, config)?;
    if let Some(link) = link {
        for (key, step) in plan::steps(config) {
            pod.change(link.index, &step).map_err(|e| Error::from(e).context(key))?;
        }
    }
    if config.mtu.is_some() {
        // A new MTU makes the kernel set some sysctls of the interface anew.
        set_sysctls(call, config)?;
    }
    undo.keep();
    Ok(())
}

fn interface(pod: &Netlink, call: &Call) -> Result<Link> {
    let ifname = call.ifname.as_str();
    pod.link_by_name(ifname)?.ok_or_else(|| {
        Error::new(
            Code::InvalidEnvironment,
            format!("CNI_IFNAME: the pod has no interface {ifname}"),
        )
        .with_details("a plugin earlier in the chain makes it")
    })
}

/// Sysctls come before the interface: some tell how it announces its changes.
fn set_sysctls(call: &Call, config: &Config) -> Result<()> {
    for setting in &config.sysctls {
        sysctl::write(&setting.key_for(call.ifname.as_str()), &setting.value)
            .map_err(|e| Error::from(e).context(format!("sysctl.{}", setting.given)))?;
    }
    Ok(())
}

/// Puts back what was there before, where the namespace still is, and forgets it.
pub(crate) fn del(call: &Call) -> Result<()> {
    let store = Store::of(call, &config::readable_data_dir(&call.conf));
    if let (Kept::Values(backup), Some(space)) = (store.read()?, &call.netns) {
        backup.put_back(space, call.ifname.as_str());
    }
    store.remove()
}

/// Compares the pod with the configuration.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::of(call)?;
    call.pod()?.run(|| {
        for setting in &config.sysctls {
            let key = setting.key_for(call.ifname.as_str());
            match sysctl::read(&key) {
                Ok(value) if plan::same_value(&value, &setting.value) => {}
                Ok(value) => {
                    let cause =
                        format!("is {value:?}, the configuration wants {:?}", setting.value);
                    return Err(drift(format!("sysctl {key}"), cause));
                }
                Err(e) if e.is_denied() => {}
                Err(e) if e.is_not_found() => {
                    return Err(drift(format!("sysctl {key}"), "is gone"));
                }
                Err(e) => return Err(e.into()),
            }
        }
        let ifname = call.ifname.as_str();
        match Netlink::open()?.link_by_name(ifname)? {
            Some(link) => plan::compare(&config, &link),
            None => Err(drift(format!("interface {ifname}"), "is gone")),
        }
    })?
}
