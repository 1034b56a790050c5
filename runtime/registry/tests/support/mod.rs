//! What the tests of this crate share: a fake server that misbehaves on order, certificates, Debian's registry, and
//! a small image. Other crates' tests may include these files with `#[path]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod certs;
pub(crate) mod debian;
pub(crate) mod fake;
pub(crate) mod image;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use registry::{Client, Config};

/// A folder of its own that goes away again.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "podloom-registry-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that only its owner reads, with the folders above it.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Settings with short waits and no files of the machine.
pub(crate) fn config() -> Config {
    Config {
        certs_d: Vec::new(),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_millis(700),
        min_rate: 0,
        retries: 3,
        backoff: Duration::from_millis(5),
        max_wait: Duration::from_secs(2),
        ..Config::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(config())
}

/// A client that reads `hosts.toml` below `dir`.
pub(crate) fn client_with(dir: &Dir) -> Client {
    Client::new(Config { certs_d: vec![dir.path().to_owned()], ..config() })
}
