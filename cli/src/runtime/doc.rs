//! Messages of the CRI as documents and as words for people.

use crate::print;
use cri_api::v1::{ContainerState, ContainerStatus, PodSandboxState, PodSandboxStatus};
use serde_json::{Value, json};

/// An ID as short as people use it.
pub(super) fn short(id: &str) -> String {
    id.chars().take(13).collect()
}

pub(super) fn container_state(state: i32) -> &'static str {
    match ContainerState::try_from(state) {
        Ok(ContainerState::ContainerCreated) => "created",
        Ok(ContainerState::ContainerRunning) => "running",
        Ok(ContainerState::ContainerExited) => "exited",
        _ => "unknown",
    }
}

pub(super) fn pod_state(state: i32) -> &'static str {
    match PodSandboxState::try_from(state) {
        Ok(PodSandboxState::SandboxReady) => "ready",
        _ => "not ready",
    }
}

/// How long ago a time in nanoseconds since 1970 was.
pub(super) fn age(then: i64) -> String {
    print::age(u64::try_from(then / 1_000_000_000).unwrap_or_default())
}

/// A time in nanoseconds since 1970 as RFC 3339 writes it; null for zero, which means never.
pub(super) fn rfc3339(nanos: i64) -> Value {
    if nanos == 0 {
        return Value::Null;
    }
    let (seconds, fraction) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    json!(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z"))
}

/// Year, month and day of a day since 1970, in the Gregorian calendar. Years begin in March here, so
/// that the leap day is a year's last.
fn date(days: i64) -> (i64, i64, i64) {
    const FOUR_CENTURIES: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(FOUR_CENTURIES), days.rem_euclid(FOUR_CENTURIES));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let (calendar, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, calendar, day - first + 1)
}

/// Everything about a container; `info` is what the daemon says beyond the CRI.
pub(super) fn container(status: &ContainerStatus) -> Value {
    let metadata = status.metadata.clone().unwrap_or_default();
    let mount = |mount: &cri_api::v1::Mount| {
        json!({
            "containerPath": mount.container_path,
            "hostPath": mount.host_path,
            "readonly": mount.readonly,
            "image": mount.image.as_ref().map(|image| &image.image),
        })
    };
    let user = status.user.as_ref().and_then(|user| user.linux.as_ref());
    let limits = status.resources.as_ref().and_then(|resources| resources.linux.as_ref());
    json!({
        "id": status.id,
        "name": metadata.name,
        "attempt": metadata.attempt,
        "state": container_state(status.state),
        "createdAt": rfc3339(status.created_at),
        "startedAt": rfc3339(status.started_at),
        "finishedAt": rfc3339(status.finished_at),
        "exitCode": status.exit_code,
        "reason": status.reason,
        "message": status.message,
        "image": status.image.as_ref().map(|image| &image.image),
        "imageRef": status.image_ref,
        "imageId": status.image_id,
        "logPath": status.log_path,
        "mounts": status.mounts.iter().map(mount).collect::<Vec<_>>(),
        "user": user.map(|user| json!({
            "uid": user.uid, "gid": user.gid, "supplementalGroups": user.supplemental_groups,
        })),
        "resources": limits.map(|limits| json!({
            "cpuPeriod": limits.cpu_period,
            "cpuQuota": limits.cpu_quota,
            "cpuShares": limits.cpu_shares,
            "memoryLimitBytes": limits.memory_limit_in_bytes,
            "memorySwapLimitBytes": limits.memory_swap_limit_in_bytes,
            "oomScoreAdj": limits.oom_score_adj,
            "cpusetCpus": limits.cpuset_cpus,
            "cpusetMems": limits.cpuset_mems,
            "unified": limits.unified,
        })),
        "labels": status.labels,
        "annotations": status.annotations,
    })
}

/// Everything about a pod.
pub(super) fn pod(status: &PodSandboxStatus) -> Value {
    let metadata = status.metadata.clone().unwrap_or_default();
    let network = status.network.clone().unwrap_or_default();
    let mut ips = vec![network.ip];
    ips.extend(network.additional_ips.into_iter().map(|more| more.ip));
    ips.retain(|ip| !ip.is_empty());
    json!({
        "id": status.id,
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid,
        "attempt": metadata.attempt,
        "state": pod_state(status.state),
        "createdAt": rfc3339(status.created_at),
        "ips": ips,
        "runtimeHandler": status.runtime_handler,
        "labels": status.labels,
        "annotations": status.annotations,
    })
}

/// What the daemon says beyond the CRI: JSON where it is JSON.
pub(super) fn info(info: &std::collections::HashMap<String, String>) -> Value {
    let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    info.iter().map(|(key, text)| (key.clone(), value(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_calendars_have_them() {
        for (seconds, expected) in [
            (1, "1970-01-01T00:00:01"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_709_251_200, "2024-03-01T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (-1, "1969-12-31T23:59:59"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000_000), format!("{expected}.000000000Z"));
        }
        assert_eq!(rfc3339(0), Value::Null);
    }
}
