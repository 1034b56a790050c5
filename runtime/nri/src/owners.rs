//! Who set what: two plugins that set the same is an error that names both.

use crate::v1alpha1::{Field, FieldOwners, OwningPlugins};
use std::fmt;

/// Two plugins that set the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    field: Field,
    key: String,
    plugins: (String, String),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conflict { field, key, plugins: (first, second) } = self;
        write!(f, "plugins {first:?} and {second:?} both set {}", field.as_str_name())?;
        if !key.is_empty() {
            write!(f, " {key:?}")?;
        }
        Ok(())
    }
}

/// A plugin that took away what another had set; nobody else may set it then.
const CLEARED: char = '-';

/// One plugin's claims on one container.
#[derive(Debug)]
pub(crate) struct Claims<'a> {
    pub(crate) owners: &'a mut OwningPlugins,
    pub(crate) container: &'a str,
    pub(crate) plugin: &'a str,
}

impl Claims<'_> {
    fn of(&mut self) -> &mut FieldOwners {
        self.owners.owners.entry(self.container.to_owned()).or_default()
    }

    fn check(&self, owner: Option<&String>, field: Field, key: &str) -> Result<(), Conflict> {
        let Some(owner) = owner else { return Ok(()) };
        let owner = owner.strip_prefix(CLEARED).unwrap_or(owner);
        if owner == self.plugin {
            return Ok(());
        }
        let plugins = (owner.to_owned(), self.plugin.to_owned());
        Err(Conflict { field, key: key.to_owned(), plugins })
    }

    /// It sets a field.
    pub(crate) fn claim(&mut self, field: Field) -> Result<(), Conflict> {
        let owner = self.of().simple.get(&(field as i32)).cloned();
        self.check(owner.as_ref(), field, "")?;
        let plugin = self.plugin.to_owned();
        self.of().simple.insert(field as i32, plugin);
        Ok(())
    }

    /// It sets an entry of a field that has several.
    pub(crate) fn claim_entry(&mut self, field: Field, key: &str) -> Result<(), Conflict> {
        let entries = self.of().compound.entry(field as i32).or_default();
        let owner = entries.owners.get(key).cloned();
        self.check(owner.as_ref(), field, key)?;
        let plugin = self.plugin.to_owned();
        let entries = self.of().compound.entry(field as i32).or_default();
        entries.owners.insert(key.to_owned(), plugin);
        Ok(())
    }

    /// It adds to a field to which all may add.
    pub(crate) fn join(&mut self, field: Field) {
        let plugin = self.plugin.to_owned();
        let owner = self.of().simple.entry(field as i32).or_default();
        match owner.is_empty() {
            true => *owner = plugin,
            false => {
                owner.push(',');
                owner.push_str(&plugin);
            }
        }
    }

    /// It takes away what others may have set.
    pub(crate) fn clear(&mut self, field: Field) {
        let cleared = format!("{CLEARED}{}", self.plugin);
        if let Some(owner) = self.of().simple.get_mut(&(field as i32)) {
            *owner = cleared;
        }
    }

    /// It takes away an entry that others may have set.
    pub(crate) fn clear_entry(&mut self, field: Field, key: &str) {
        let cleared = format!("{CLEARED}{}", self.plugin);
        let entries = self.of().compound.get_mut(&(field as i32));
        if let Some(owner) = entries.and_then(|entries| entries.owners.get_mut(key)) {
            *owner = cleared;
        }
    }
}

/// Who set a field, or entries of it: names, with commas between them. `None`: nobody.
pub(crate) fn owners_of(owners: &OwningPlugins, container: &str, field: Field) -> Option<String> {
    let of = owners.owners.get(container)?;
    let simple = of.simple.get(&(field as i32));
    let entries = of.compound.get(&(field as i32)).into_iter().flat_map(|of| of.owners.values());
    let mut names: Vec<_> = simple
        .into_iter()
        .chain(entries)
        .filter(|name| !name.starts_with(CLEARED))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    Some(names.join(",")).filter(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_who_sets_the_same_is_refused_with_both_names() {
        let mut owners = OwningPlugins::default();
        let mut claim = |plugin: &str, key: &str| {
            let mut claims = Claims { owners: &mut owners, container: "c", plugin };
            claims.claim_entry(Field::Env, key)
        };
        assert_eq!(claim("10-a", "A"), Ok(()));
        assert_eq!(claim("10-a", "A"), Ok(()), "its own");
        assert_eq!(claim("20-b", "B"), Ok(()));
        let e = claim("20-b", "A").expect_err("taken").to_string();
        assert_eq!(e, "plugins \"10-a\" and \"20-b\" both set Env \"A\"");
        assert_eq!(owners_of(&owners, "c", Field::Env).as_deref(), Some("10-a,20-b"));
        assert_eq!(owners_of(&owners, "d", Field::Env), None);
    }

    #[test]
    fn what_was_taken_away_is_set_by_who_did_so_alone() {
        let mut owners = OwningPlugins::default();
        let of = |owners: &mut OwningPlugins, plugin: &str| {
            Claims { owners, container: "c", plugin }.claim(Field::Args)
        };
        assert_eq!(of(&mut owners, "a"), Ok(()));
        Claims { owners: &mut owners, container: "c", plugin: "b" }.clear(Field::Args);
        assert_eq!(owners_of(&owners, "c", Field::Args), None);
        assert!(of(&mut owners, "c").is_err());
        assert_eq!(of(&mut owners, "b"), Ok(()));
    }
}
