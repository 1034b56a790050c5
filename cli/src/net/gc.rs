//! `gc`.

use super::Desk;
use crate::args::GcArgs;
use crate::fault::{Fault, Result};
use crate::print;
use cni_types::Attachment;
use libcni::{Collected, Record, Valid, load_network};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

pub(super) async fn gc(desk: &Desk, gc: &GcArgs) -> Result<()> {
    let network = load_network(&desk.conf_dir, &gc.network)?;
    let mut named: BTreeSet<Attachment> =
        gc.keep.iter().map(|text| attachment(text)).collect::<Result<_>>()?;
    if let Some(file) = &gc.keep_from {
        named.extend(read(file)?);
    }
    let named: Vec<Attachment> = named.into_iter().collect();
    let keep = |record: &Record| named.contains(&record.attachment()) || is_live(record);
    let valid = if gc.keep_live { Valid::Where(&keep) } else { Valid::These(&named) };
    let done = if gc.dry_run {
        desk.cni.gc_preview(&network, &valid).await?
    } else {
        desk.cni.gc(&network, &valid).await?
    };
    tell(desk, gc, &done)
}

/// Whether the network namespace of an attachment is there; a file that a removed bind mount
/// left behind is none.
fn is_live(record: &Record) -> bool {
    !record.is_of_earlier_boot() && netns::Netns::open(Path::new(&record.netns)).is_ok()
}

/// `CONTAINERID` or `CONTAINERID:IFNAME`.
fn attachment(text: &str) -> Result<Attachment> {
    let (id, ifname) = text.split_once(':').unwrap_or((text, "eth0"));
    Ok(libcni::Pod::new(id, ifname, "")?.attachment())
}

fn read(file: &Path) -> Result<Vec<Attachment>> {
    let fault = |cause: String| {
        let advice = "lines of CONTAINERID:IFNAME, or a JSON list of {\"containerID\", \"ifname\"}";
        Fault::usage(&format!("--keep-from {}", file.display()), cause, advice)
    };
    let mut text = String::new();
    let outcome = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    outcome.map_err(|e| fault(e.to_string()))?;
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).map_err(|e| fault(e.to_string()));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(attachment).collect()
}

fn tell(desk: &Desk, gc: &GcArgs, done: &Collected) -> Result<()> {
    for warning in &done.warnings {
        print::note(Fault::from(warning).text().trim_end());
    }
    if desk.is_json() {
        return print::json(&json!({
            "network": gc.network,
            "dryRun": gc.dry_run,
            "disabled": done.disabled,
            "kept": done.kept,
            "removed": done.removed,
            "pluginsAsked": done.plugins_asked,
        }));
    }
    if done.disabled {
        return print::out("disableGC is set: nothing was done\n");
    }
    let mut text = String::new();
    for (what, list) in [("kept", &done.kept), ("removed", &done.removed)] {
        for a in list {
            text.push_str(&format!("{what}  {}:{}\n", a.container_id, a.ifname));
        }
    }
    let kept = done.kept.len();
    let verb = if gc.dry_run { "would be removed" } else { "removed" };
    text.push_str(&format!("{kept} kept, {} {verb}", done.removed.len()));
    text.push_str(match (done.plugins_asked, gc.dry_run) {
        (true, false) => "; every plugin freed what they do not own\n",
        (true, true) => "; every plugin would free what the kept ones do not own\n",
        (false, _) => "; plugins have no GC before cniVersion 1.1.0\n",
    });
    print::out(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_read_from_text() {
        let a = attachment("pod:net1").expect("attachment");
        assert_eq!((a.container_id.as_str(), a.ifname.as_str()), ("pod", "net1"));
        assert_eq!(attachment("pod").expect("attachment").ifname, "eth0");
        assert!(attachment("../pod").is_err());
    }
}
