//! What must hold for a container to be made: plugins that are required, adjustments that are refused.
//! Fails closed: what cannot be checked does not hold.

use crate::owners::owners_of;
use crate::settings::{Refused, Settings};
use crate::v1alpha1::security_profile::ProfileType;
use crate::v1alpha1::{Container, Field, OwningPlugins};
use container::{Error, Kind, Result};
use std::collections::HashMap;

/// By it a pod names plugins without which its containers are not made: a JSON list.
const REQUIRED: &str = "required-plugins.noderesource.dev";

/// Plugins that a pod may require at most.
const REQUIRED_MAX: usize = 64;

fn refused(cause: impl std::fmt::Display, advice: &str) -> Error {
    Error::new(Kind::Precondition, "NRI", cause).with_advice(advice)
}

/// The annotation of a pod that counts for one of its containers.
fn annotation<'a>(
    annotations: &'a HashMap<String, String>,
    key: &str,
    container: &str,
) -> Option<&'a str> {
    let keys = [format!("{key}/container.{container}"), format!("{key}/pod"), key.to_owned()];
    keys.iter().find_map(|key| annotations.get(key)).map(String::as_str)
}

/// The plugins that a container needs.
///
/// # Errors
/// An annotation is not understood.
pub(crate) fn required(
    settings: &Settings,
    annotations: &HashMap<String, String>,
    container: &str,
) -> Result<Vec<String>> {
    let odd = |key: &str, cause: String| {
        let e = Error::new(Kind::Invalid, format!("annotation {key}"), cause);
        e.with_advice("correct the pod's annotation")
    };
    if let Some(key) = &settings.tolerate {
        match annotation(annotations, key, container) {
            None | Some("false") => {}
            Some("true") => return Ok(Vec::new()),
            Some(other) => return Err(odd(key, format!("{other:?}: want \"true\" or \"false\""))),
        }
    }
    let mut names = settings.required.clone();
    if let Some(text) = annotation(annotations, REQUIRED, container) {
        let own: Vec<String> = serde_json::from_str(text)
            .map_err(|e| odd(REQUIRED, format!("{text:?} is no JSON list of names: {e}")))?;
        if own.len() > REQUIRED_MAX {
            return Err(odd(REQUIRED, format!("names over {REQUIRED_MAX} plugins")));
        }
        names.extend(own);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Refuses a container that one of the plugins did not see.
///
/// # Errors
/// With all that are missing, and why, where that is known.
pub(crate) fn present(
    required: &[String],
    asked: &[String],
    why: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    let is_missing = |name: &&String| !asked.iter().any(|seen| seen == *name);
    let missing: Vec<_> = required
        .iter()
        .filter(is_missing)
        .map(|name| match why(name) {
            Some(why) => format!("{name:?}, which was dropped because it {why}"),
            None => format!("{name:?}, which is not connected"),
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let cause = format!("needs plugin {}", missing.join(", and plugin "));
    Err(refused(cause, "start the plugin again, or do not require it"))
}

/// Refuses adjustments that this node does not allow.
///
/// # Errors
/// With who made the adjustment.
pub(crate) fn allowed(list: &[Refused], before: &Container, owners: &OwningPlugins) -> Result<()> {
    let by = |field| owners_of(owners, &before.id, field);
    let profile = before.linux.as_ref().and_then(|linux| linux.seccomp_profile.as_ref());
    let kind = profile.map_or(ProfileType::Unconfined, |profile| profile.profile_type());
    let found = list.iter().find_map(|refused| {
        let seccomp = |of| (kind == of).then(|| by(Field::SeccompPolicy)).flatten();
        let (what, who) = match refused {
            Refused::Hooks => ("hooks", by(Field::OciHooks)),
            Refused::Namespaces => ("namespaces", by(Field::Namespace)),
            Refused::Sysctls => ("sysctls", by(Field::Sysctl)),
            Refused::DefaultSeccomp => ("the default filter", seccomp(ProfileType::RuntimeDefault)),
            Refused::UnconfinedSeccomp => ("a filter", seccomp(ProfileType::Unconfined)),
            Refused::LocalSeccomp => ("a local filter", seccomp(ProfileType::Localhost)),
        };
        who.map(|who| (what, who))
    });
    match found {
        None => Ok(()),
        Some((what, who)) => {
            let cause = format!("plugin {who} adjusts {what}, which this node refuses");
            Err(refused(cause, "see nri.refused_adjustments of the configuration"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owners::Claims;
    use crate::v1alpha1::{LinuxContainer, SecurityProfile};

    fn annotations(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_closest_annotation_counts_beside_the_configuration() {
        let settings = Settings { required: vec!["all".to_owned()], ..Settings::default() };
        let pod = annotations(&[
            ("required-plugins.noderesource.dev", "[\"pod\"]"),
            ("required-plugins.noderesource.dev/container.c", "[\"own\"]"),
        ]);
        assert_eq!(required(&settings, &pod, "c").expect("names"), ["all", "own"]);
        assert_eq!(required(&settings, &pod, "d").expect("names"), ["all", "pod"]);
        let odd = annotations(&[("required-plugins.noderesource.dev", "pod")]);
        assert_eq!(required(&settings, &odd, "c").expect_err("no list").kind(), Kind::Invalid);
    }

    #[test]
    fn only_a_clear_word_does_without() {
        let key = "tolerate.example.com".to_owned();
        let settings = Settings {
            required: vec!["all".to_owned()],
            tolerate: Some(key.clone()),
            ..Settings::default()
        };
        let with = |value: &str| required(&settings, &annotations(&[(&key, value)]), "c");
        assert_eq!(with("true").expect("names"), Vec::<String>::new());
        assert_eq!(with("false").expect("names"), ["all"]);
        assert!(with("maybe").is_err());
    }

    #[test]
    fn what_is_missing_is_named_with_its_end() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let why = |name: &str| (name == "b").then(|| "hung up".to_owned());
        assert!(present(&names, &names, why).is_ok());
        let e = present(&names, &names[..1], why).expect_err("missing").to_string();
        assert!(e.contains("\"b\", which was dropped because it hung up"), "{e}");
        assert!(e.contains("\"c\", which is not connected"), "{e}");
    }

    #[test]
    fn refused_adjustments_name_who_made_them() {
        let mut owners = OwningPlugins::default();
        let mut claims = Claims { owners: &mut owners, container: "c", plugin: "10-a" };
        claims.join(Field::OciHooks);
        claims.claim(Field::SeccompPolicy).expect("free");
        let profile_type = ProfileType::RuntimeDefault.into();
        let before = Container {
            id: "c".to_owned(),
            linux: Some(LinuxContainer {
                seccomp_profile: Some(SecurityProfile { profile_type, ..Default::default() }),
                ..Default::default()
            }),
            ..Container::default()
        };
        for refuses in [Refused::Hooks, Refused::DefaultSeccomp] {
            let e = allowed(&[refuses], &before, &owners).expect_err("refused").to_string();
            assert!(e.contains("plugin 10-a"), "{e}");
        }
        let others = [Refused::Sysctls, Refused::Namespaces, Refused::LocalSeccomp];
        assert!(allowed(&others, &before, &owners).is_ok());
    }
}
