//! GC and STATUS.

use crate::allowlist::Allowlist;
use crate::backup::{Backup, Kept, Store, files};
use crate::config::{Config, readable_data_dir};
use cni_plugin::{Gate, Known, NodeCall};
use cni_types::{Args, Code, Error, Result};
use netns::Netns;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::path::Path;

/// Forgets what was there before ADD of attachments that are not valid any more, and puts it back
/// where their namespaces are still there.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    let _gate = Gate::alone()?;
    let names = files(&call.conf)?;
    let known = Known::read();
    let dir = readable_data_dir(&call.conf);
    let stems = names.iter().filter_map(|name| Store::stem_of(name));
    Error::collect(stems.map(|stem| collect(call, &known, &dir, stem)))
}

/// Forgets the file of one attachment, if it is not to be kept.
fn collect(call: &NodeCall, known: &Known, dir: &Path, stem: &str) -> Result<()> {
    if call.valid.iter().any(|a| format!("{}_{}", a.container_id, a.ifname) == stem) {
        return Ok(());
    }
    let store = Store::named(dir, stem);
    let kept = store.read()?;
    let own = match &kept {
        Kept::Values(backup) => backup.podloom.as_ref().map(|own| (backup, own)),
        Kept::Nothing | Kept::Unreadable => None,
    };
    match own {
        Some((_, own)) if own.network != call.conf.name.as_str() => return Ok(()),
        Some((backup, own)) => put_back(backup, &own.netns, &own.ifname),
        // A file of the reference plugin does not tell its network.
        None if may_be_used(known, stem) => return Ok(()),
        None => {}
    }
    store.remove()
}

fn put_back(backup: &Backup, path: &str, ifname: &str) {
    // A path that leads nowhere is what GC is for.
    if let Ok(space) = Netns::open(Path::new(path))
        && backup.is_of(&space)
    {
        backup.put_back(&space, ifname);
    }
}

/// Whether a runtime knows the attachment `<container>_<interface>`, both of which may have
/// underscores.
fn may_be_used(known: &Known, stem: &str) -> bool {
    let mut splits = stem.match_indices('_').map(|(at, _)| (&stem[..at], &stem[at + 1..]));
    splits.any(|(container_id, ifname)| known.may_have(container_id, ifname))
}

/// Tells whether ADD can be served: the configuration is valid and allowed, and sysctls can be
/// written.
pub(crate) fn status(call: &NodeCall) -> Result<()> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    let config = Config::read(&call.conf, &Args::default()).map_err(unavailable)?;
    if !config.sysctls.is_empty() {
        Allowlist::of_node().and_then(|list| list.permit(&config.sysctls)).map_err(unavailable)?;
        let flags = statvfs("/proc/sys/net").map(|fs| fs.flags());
        if flags.map_or(true, |flags| flags.contains(FsFlags::ST_RDONLY)) {
            return Err(Error::new(Code::NotAvailable, "/proc/sys/net: cannot be written")
                .with_details("mount /proc writable for the program that runs the plugins"));
        }
    }
    let dir = &config.data_dir;
    match dir.ancestors().find(|dir| dir.exists()) {
        Some(found) if found.is_dir() => Ok(()),
        _ => Err(Error::new(
            Code::NotAvailable,
            format!("dataDir: {} is no directory", dir.display()),
        )),
    }
}
