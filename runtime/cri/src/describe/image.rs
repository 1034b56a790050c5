//! Images.

use crate::status::{Refusal, Result};
use ::image::{ImageService, Summary};
use cri_api::v1;
use std::collections::HashMap;

/// An image in a list.
pub(crate) fn image_item(image: Summary, pinned: &[String]) -> v1::Image {
    let is_pinned = image.pinned || image.repo_tags.iter().any(|tag| matches(pinned, tag));
    let id = image.id.to_string();
    // kubelet refuses `runAsNonRoot` by these two: a number, or a name that it cannot judge.
    let user = image.user.split(':').next().unwrap_or_default().to_owned();
    let uid = image.uid.map(|uid| v1::Int64Value { value: i64::from(uid) });
    let reference = image.repo_digests.first().unwrap_or(&id).clone();
    let name = image.repo_tags.first().unwrap_or(&reference).clone();
    v1::Image {
        spec: Some(v1::ImageSpec { image: name, image_ref: reference, ..Default::default() }),
        id,
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        size: image.size,
        username: if uid.is_some() { String::new() } else { user },
        uid,
        pinned: is_pinned,
    }
}

/// Whether one of the patterns fits a name: a whole name, or its beginning with `*`.
fn matches(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    })
}

/// What `verbose` tells of an image. JSON by the field's key `info`.
pub(crate) fn image_info(id: &str, images: &ImageService) -> Result<HashMap<String, String>> {
    let details = images.inspect(id)?;
    let shown = serde_json::json!({
        "chainID": details.layers.last(),
        "imageSpec": details.config,
        "manifestDigest": details.manifest_digest,
        "layers": details.layers,
        "platform": details.summary.platform,
        "unpackedBytes": details.unpacked.bytes,
        "unpackedInodes": details.unpacked.inodes,
    });
    Ok(HashMap::from([("info".to_owned(), shown.to_string())]))
}

/// The name in a request for an image.
pub(crate) fn name_of(spec: Option<v1::ImageSpec>) -> Result<String> {
    match spec {
        Some(spec) if !spec.image.is_empty() => Ok(spec.image),
        _ => Err(Refusal::invalid("image", "no name is given")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_beginnings() {
        let patterns = ["registry.k8s.io/pause*".to_owned(), "local/base:1".to_owned()];
        assert!(matches(&patterns, "registry.k8s.io/pause:3.10"));
        assert!(matches(&patterns, "local/base:1"));
        assert!(!matches(&patterns, "local/base:10"));
        assert!(!matches(&[], "local/base:1"));
    }

    #[test]
    fn a_user_is_a_number_or_a_name() {
        let of = |user: &str, uid| Summary {
            id: format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
            repo_tags: Vec::new(),
            repo_digests: Vec::new(),
            size: 1,
            created: None,
            added: 0,
            platform: "linux/amd64".to_owned(),
            user: user.to_owned(),
            uid,
            pinned: false,
        };
        let shown = image_item(of("1000:100", Some(1000)), &[]);
        assert_eq!((shown.uid.unwrap().value, shown.username.as_str()), (1000, ""));
        let shown = image_item(of("www:www", None), &[]);
        assert_eq!((shown.uid, shown.username.as_str()), (None, "www"));
    }
}
