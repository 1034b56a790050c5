//! Asking a file system whether it answers, in a process that nobody misses when it hangs.

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// Asks the file system of `path` itself, not what the kernel remembers of it. Any answer will do, a
/// refusal too; without one this never returns, and cannot be killed.
pub(crate) fn look(path: &str) {
    let _answer = statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
}
