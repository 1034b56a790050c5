//! Containers.

use ::image::{ImageService, Summary};
use container::Container;
use cri_api::v1;
use std::os::unix::ffi::OsStrExt;

/// A container in a list, `image` being what it was made of, if that is there.
pub(crate) fn container_item(container: &Container, image: Option<&Summary>) -> v1::Container {
    let config = container.config();
    let named = Named::of(container, image);
    v1::Container {
        id: container.id().to_owned(),
        pod_sandbox_id: container.sandbox_id().to_owned(),
        metadata: Some(container.metadata().clone()),
        image: Some(named.spec),
        image_ref: container.image_id().to_owned(),
        state: container.state() as i32,
        created_at: container.created_at(),
        labels: config.labels.clone(),
        annotations: container.annotations(),
        image_id: container.image_id().to_owned(),
    }
}

/// A container in detail.
pub(crate) fn container_status(
    container: &Container,
    images: &ImageService,
) -> v1::ContainerStatus {
    let config = container.config();
    let status = container.status();
    // A store that fails leaves what was asked for, as an image does that was removed.
    let image = images.by_id(container.image_id()).ok().flatten();
    let named = Named::of(container, image.as_deref());
    let log_path = container.log_path().map(|path| path.as_os_str().as_bytes());
    v1::ContainerStatus {
        id: container.id().to_owned(),
        metadata: Some(container.metadata().clone()),
        state: status.state as i32,
        created_at: container.created_at(),
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        image: Some(named.spec),
        image_ref: named.reference,
        reason: status.reason,
        message: status.message,
        labels: config.labels.clone(),
        annotations: status.annotations.into_iter().collect(),
        mounts: config.mounts.iter().map(|mount| with_image(mount, images)).collect(),
        log_path: log_path.map(|p| String::from_utf8_lossy(p).into_owned()).unwrap_or_default(),
        resources: Some(v1::ContainerResources { linux: status.resources, windows: None }),
        image_id: container.image_id().to_owned(),
        user: Some(v1::ContainerUser { linux: Some(container.user().clone()) }),
        stop_signal: stop_signal(container.stop_signal()) as i32,
    }
}

/// How a container's image is called.
struct Named {
    spec: v1::ImageSpec,
    /// A name with a digest, or the image's id.
    reference: String,
}

impl Named {
    fn of(container: &Container, image: Option<&Summary>) -> Named {
        let mut spec = container.config().image.clone().unwrap_or_default();
        let Some(image) = image else {
            return Named { spec, reference: container.image_id().to_owned() };
        };
        let reference = digest_name(image, &spec);
        if let Some(tag) = tag(image, &spec) {
            spec.image = tag.to_owned();
        }
        spec.image_ref.clone_from(&reference);
        Named { spec, reference }
    }
}

/// The tag that a user knows the image by: the asked one, if it is there still.
fn tag<'a>(image: &'a Summary, spec: &v1::ImageSpec) -> Option<&'a str> {
    let tags = &image.repo_tags;
    let is_asked = |tag: &&String| **tag == spec.user_specified_image || **tag == spec.image;
    tags.iter().find(is_asked).or(tags.first()).map(String::as_str)
}

/// The name with a digest, of the repository that was asked for where there is a choice.
fn digest_name(image: &Summary, spec: &v1::ImageSpec) -> String {
    let asked = [&spec.user_specified_image, &spec.image];
    let fits = |name: &&String| {
        let own = name.split('@').next().unwrap_or(name);
        asked.iter().any(|asked| {
            asked
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
        })
    };
    let names = &image.repo_digests;
    names.iter().find(fits).or(names.first()).cloned().unwrap_or_else(|| image.id.to_string())
}

/// A mount as it was asked for; that of an image with what the image is.
fn with_image(mount: &v1::Mount, images: &ImageService) -> v1::Mount {
    let mut mount = mount.clone();
    if let Some(spec) = &mut mount.image
        && let Ok(Some(image)) = images.get(&spec.image)
    {
        spec.image_ref = digest_name(&image, spec);
    }
    mount
}

/// The CRI's number of a signal of Linux.
fn stop_signal(number: i32) -> v1::Signal {
    /// CRI's names by Linux' numbers, from 1; 16 is SIGSTKFLT, 17 SIGCHLD.
    const NAMES: [v1::Signal; 31] = {
        use v1::Signal::*;
        [
            Sighup, Sigint, Sigquit, Sigill, Sigtrap, Sigabrt, Sigbus, Sigfpe, Sigkill, Sigusr1,
            Sigsegv, Sigusr2, Sigpipe, Sigalrm, Sigterm, Sigstkflt, Sigchld, Sigcont, Sigstop,
            Sigtstp, Sigttin, Sigttou, Sigurg, Sigxcpu, Sigxfsz, Sigvtalrm, Sigprof, Sigwinch,
            Sigio, Sigpwr, Sigsys,
        ]
    };
    /// `SIGRTMIN` of the C library, below which two are its own, and the CRI's number of it.
    const FIRST_REAL_TIME: i32 = 34;
    let known = usize::try_from(number - 1).ok().and_then(|index| NAMES.get(index));
    match known {
        Some(name) => *name,
        None if (FIRST_REAL_TIME..=64).contains(&number) => {
            let first = v1::Signal::Sigrtmin as i32;
            v1::Signal::try_from(first + number - FIRST_REAL_TIME).unwrap_or_default()
        }
        None => v1::Signal::RuntimeDefault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_that_linux_gives_them() {
        for (number, name) in [
            (1, "SIGHUP"),
            (2, "SIGINT"),
            (3, "SIGQUIT"),
            (9, "SIGKILL"),
            (10, "SIGUSR1"),
            (15, "SIGTERM"),
            (28, "SIGWINCH"),
            (31, "SIGSYS"),
            (34, "SIGRTMIN"),
            (37, "SIGRTMINPLUS3"),
            (64, "SIGRTMAX"),
            (32, "RUNTIME_DEFAULT"),
            (65, "RUNTIME_DEFAULT"),
            (0, "RUNTIME_DEFAULT"),
        ] {
            assert_eq!(stop_signal(number).as_str_name(), name, "{number}");
        }
    }

    fn image(tags: &[&str], digests: &[&str]) -> Summary {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Summary {
            id: format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
            repo_tags: owned(tags),
            repo_digests: owned(digests),
            size: 1,
            created: None,
            added: 0,
            platform: "linux/amd64".to_owned(),
            user: "0".to_owned(),
            uid: Some(0),
            pinned: false,
        }
    }

    #[test]
    fn the_name_that_was_asked_for_is_told_where_there_is_a_choice() {
        let image = image(&["a/x:1", "b/x:2"], &["a/x@sha256:00", "b/x@sha256:00"]);
        let mut spec = v1::ImageSpec { image: image.id.to_string(), ..Default::default() };
        assert_eq!(tag(&image, &spec), Some("a/x:1"));
        assert_eq!(digest_name(&image, &spec), "a/x@sha256:00");
        spec.user_specified_image = "b/x:2".to_owned();
        assert_eq!(tag(&image, &spec), Some("b/x:2"));
        assert_eq!(digest_name(&image, &spec), "b/x@sha256:00");
    }

    #[test]
    fn an_image_without_names_is_told_by_its_id() {
        let image = image(&[], &[]);
        let spec = v1::ImageSpec::default();
        assert_eq!(tag(&image, &spec), None);
        assert_eq!(digest_name(&image, &spec), image.id.to_string());
    }
}
