//! A network laboratory made of namespaces, for tests.
//!
//! A [`Lab`] is a node in a network namespace of its own (links, routes, sysctls, iptables and nft
//! state), with pods and hosts outside beside it, directories for leases and results, and the
//! means to look at all of it:
//!
//! ```no_run
//! use serde_json::json;
//! let lab = lab::Lab::new("two-pods");
//! let (a, b) = (lab.pod("a"), lab.pod("b"));
//! let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0",
//!     "ipam": {"type": "host-local", "dataDir": lab.data_dir(), "subnet": "10.9.0.0/24"}});
//! lab.plugin("bridge").add(&a, "eth0", &conf).ok();
//! let before = lab.snapshot();
//! let result = lab.plugin("bridge").add(&b, "eth0", &conf).ok();
//! a.ping(lab::address(&result, 0)).expect("b answers");
//! lab.plugin("bridge").del(&b, "eth0", &conf).ok();
//! before.assert_same(&lab.snapshot());
//! ```
//!
//! Nothing of the machine's own network is touched. Everything is removed on drop, also after a
//! panic; what a killed run left is swept by the next one. Tests may run in parallel, as threads
//! or as processes. Root is needed.
//!
//! Failing is done by panic, because a test's library fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's library fails the test"
)]

mod bins;
mod capture;
mod drift;
mod enter;
mod kernel;
mod lan;
mod node;
mod outcome;
mod outside;
mod ping;
mod plugin;
mod probe;
mod remains;
mod running;
mod sctp;
mod skip;
mod snapshot;
mod sweep;

pub use bins::{Bins, podloom, podloom_shim, reference};
pub use capture::{Capture, Frame};
pub use drift::Drift;
pub use enter::Ns;
pub use kernel::{kernel_lacks, kernel_makes};
pub use lan::{lan, lan_conf};
pub use node::{Lab, Pod};
pub use outcome::{Outcome, address, for_golden};
pub use outside::Outside;
pub use plugin::{Call, Kill, Plugin};
pub use probe::{Echo, Reply};
pub use remains::{end_shims, mounts_below, names, shims, unmount_below};
pub use skip::{machine_is_for_tests, skip};
pub use snapshot::{Diff, Snapshot};
pub use sweep::{BASE, abandon};

use std::time::{Duration, Instant};

/// How long a probe tries before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// Waits until `ready` says true.
///
/// # Panics
/// When it does not within `limit`; the message names `what`.
pub fn until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < limit, "{what}: not so within {limit:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
