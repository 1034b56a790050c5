//! Pods, containers and images in the CRI's messages.

mod container;
mod image;
mod info;
mod pod;

pub(crate) use container::{container_item, container_status};
pub(crate) use image::{image_info, image_item, name_of};
pub(crate) use info::{container_info, pod_info};
pub(crate) use pod::{pod_item, pod_status};

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or_default()
}
