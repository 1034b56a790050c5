//! Fields with several entries: each entry has an owner of its own, and a key with `-` in front takes
//! away what has it.

use crate::owners::{Claims, Conflict};
use crate::v1alpha1::{Field, KeyValue, LinuxDevice, LinuxNamespace, Mount};
use std::collections::{BTreeMap, BTreeSet};

/// The key without the mark, and whether it has one.
pub(crate) fn unmarked(key: &str) -> (&str, bool) {
    match key.strip_prefix('-') {
        Some(key) => (key, true),
        None => (key, false),
    }
}

/// An entry that is known by a key.
trait Entry: Clone {
    fn key(&self) -> &str;
}

impl Entry for Mount {
    fn key(&self) -> &str {
        &self.destination
    }
}

impl Entry for LinuxDevice {
    fn key(&self) -> &str {
        &self.path
    }
}

impl Entry for KeyValue {
    fn key(&self) -> &str {
        &self.key
    }
}

impl Entry for LinuxNamespace {
    fn key(&self) -> &str {
        &self.r#type
    }
}

/// Puts what one plugin asks to what all ask, and returns the keys that are gone or new.
fn list<T: Entry>(
    (claims, field): (&mut Claims<'_>, Field),
    asked: &[T],
    all: &mut Vec<T>,
) -> Result<BTreeSet<String>, Conflict> {
    let removed = asked.iter().map(|one| unmarked(one.key())).filter(|(_, marked)| *marked);
    for (key, _) in removed {
        claims.clear_entry(field, key);
    }
    for one in asked.iter().filter(|one| !unmarked(one.key()).1) {
        claims.claim_entry(field, one.key())?;
    }
    let touched: BTreeSet<_> = asked.iter().map(|one| unmarked(one.key()).0.to_owned()).collect();
    all.retain(|old| !touched.contains(unmarked(old.key()).0));
    // What is taken away first, so that what is set instead stays.
    let (removed, set): (Vec<&T>, Vec<&T>) = asked.iter().partition(|one| unmarked(one.key()).1);
    all.extend(removed.into_iter().chain(set).cloned());
    Ok(touched)
}

fn seen<T: Entry>(view: &mut Vec<T>, touched: &BTreeSet<String>, asked: Vec<T>) {
    view.retain(|old| !touched.contains(old.key()));
    view.extend(asked.into_iter().filter(|one| !unmarked(one.key()).1));
}

pub(super) fn mounts(
    claims: &mut Claims<'_>,
    asked: Vec<Mount>,
    view: &mut Vec<Mount>,
    all: &mut Vec<Mount>,
) -> Result<(), Conflict> {
    let touched = list((claims, Field::Mounts), &asked, all)?;
    seen(view, &touched, asked);
    Ok(())
}

pub(super) fn devices(
    claims: &mut Claims<'_>,
    asked: Vec<LinuxDevice>,
    view: &mut Vec<LinuxDevice>,
    all: &mut Vec<LinuxDevice>,
) -> Result<(), Conflict> {
    let touched = list((claims, Field::Devices), &asked, all)?;
    seen(view, &touched, asked);
    Ok(())
}

/// Of namespaces even the taking away is a claim: it changes what a container can see.
pub(super) fn namespaces(
    claims: &mut Claims<'_>,
    asked: Vec<LinuxNamespace>,
    view: &mut Vec<LinuxNamespace>,
    all: &mut Vec<LinuxNamespace>,
) -> Result<(), Conflict> {
    for one in &asked {
        claims.claim_entry(Field::Namespace, unmarked(&one.r#type).0)?;
    }
    let touched = list((claims, Field::Namespace), &asked, all)?;
    for one in asked.iter().filter(|one| unmarked(&one.r#type).1) {
        claims.claim_entry(Field::Namespace, unmarked(&one.r#type).0)?;
    }
    seen(view, &touched, asked);
    Ok(())
}

pub(super) fn variables(
    claims: &mut Claims<'_>,
    asked: Vec<KeyValue>,
    view: &mut Vec<String>,
    all: &mut Vec<KeyValue>,
) -> Result<(), Conflict> {
    let touched = list((claims, Field::Env), &asked, all)?;
    view.retain(|old| !touched.contains(old.split('=').next().unwrap_or(old)));
    let set = asked.iter().filter(|one| !unmarked(&one.key).1);
    view.extend(set.map(|one| format!("{}={}", one.key, one.value)));
    Ok(())
}

/// As [`list`], for maps.
pub(super) fn map<V: Clone + Default>(
    (claims, field): (&mut Claims<'_>, Field),
    asked: BTreeMap<String, V>,
    view: &mut BTreeMap<String, V>,
    all: &mut BTreeMap<String, V>,
) -> Result<(), Conflict> {
    let (removed, set): (BTreeMap<_, _>, BTreeMap<_, _>) =
        asked.into_iter().partition(|(key, _)| unmarked(key).1);
    for marked in removed.into_keys() {
        let key = unmarked(&marked).0;
        claims.clear_entry(field, key);
        view.remove(key);
        all.remove(key);
        all.insert(marked, V::default());
    }
    for (key, value) in set {
        claims.claim_entry(field, &key)?;
        all.remove(&format!("-{key}"));
        view.insert(key.clone(), value.clone());
        all.insert(key, value);
    }
    Ok(())
}
