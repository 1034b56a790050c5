//! What the kernel lets this runtime promise.

use cri_api::v1::RuntimeHandlerFeatures;
use std::fs;

/// The first kernel with mount_setattr(2), by which mounts are made read-only with all below, and
/// file systems get other owners.
const MOUNT_SETATTR: (u32, u32) = (5, 12);

/// What containers of any handler can have on this kernel.
pub(crate) fn features() -> RuntimeHandlerFeatures {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let has_setattr = version(&release).is_some_and(|version| version >= MOUNT_SETATTR);
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let has_users = most.trim().parse::<u64>().is_ok_and(|most| most > 0);
    RuntimeHandlerFeatures {
        recursive_read_only_mounts: has_setattr,
        user_namespaces: has_setattr && has_users,
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_numbers_and_more() {
        assert_eq!(version("6.18.44-1-generic\n"), Some((6, 18)));
        assert_eq!(version("5.9.0+"), Some((5, 9)));
        assert_eq!(version("unknown"), None);
        assert!(
            version("5.9.1") < Some(MOUNT_SETATTR) && version("5.12-rc1") >= Some(MOUNT_SETATTR)
        );
    }
}
