//! Debian's `docker-registry` on loopback, with images put into its storage before it starts.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry::spec::Digest;

use super::Dir;
use super::certs::Pair;
use super::image::Small;

const PROGRAM: &str = "docker-registry";
/// The password `hunter2` of the user `me`, as bcrypt.
const HTPASSWD: &str = "me:$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\n";

/// What the registry asks of those who come.
#[derive(Default)]
pub(crate) struct Wants<'a> {
    /// Serves TLS with this certificate.
    pub(crate) tls: Option<&'a Pair>,
    /// Wants `me` and `hunter2`.
    pub(crate) password: bool,
    /// Wants a client's certificate by this authority, in PEM.
    pub(crate) client_ca: Option<String>,
}

pub(crate) struct Registry {
    child: Child,
    port: u16,
    _dir: Dir,
}

/// Whether the program is there; reports a skip when not.
pub(crate) fn available() -> bool {
    let found = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        lab::skip("docker-registry: not installed (Debian package docker-registry)");
    }
    found
}

impl Registry {
    /// Starts the registry with `image` as `name:latest`.
    pub(crate) fn start(wants: &Wants<'_>, name: &str, image: &Small) -> Self {
        let dir = Dir::new();
        seed(&dir.path().join("data"), name, image);
        // Another test may take the free port first: then the next one.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = spawn(&dir, port, wants);
            if comes_up(&mut child, port) {
                return Self { child, port, _dir: dir };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("docker-registry did not start");
    }

    /// `localhost:port`
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Dir, port: u16, wants: &Wants<'_>) -> Child {
    let root = dir.path().join("data");
    let mut text = format!(
        "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
         storage: {{ filesystem: {{ rootdirectory: '{}' }} }}\n\
         http:\n  addr: 127.0.0.1:{port}\n",
        root.display()
    );
    if let Some(pair) = wants.tls {
        let cert = dir.write("server.pem", &pair.cert);
        let key = dir.write("server.key", &pair.key);
        text +=
            &format!("  tls:\n    certificate: {}\n    key: {}\n", cert.display(), key.display());
        if let Some(ca) = &wants.client_ca {
            text += &format!("    clientcas: ['{}']\n", dir.write("clients.pem", ca).display());
        }
    }
    if wants.password {
        let file = dir.write("htpasswd", HTPASSWD);
        text += &format!("auth: {{ htpasswd: {{ realm: test, path: '{}' }} }}\n", file.display());
    }
    let config = dir.write("config.yml", text);
    let mut command = Command::new(PROGRAM);
    command
        .arg("serve")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

fn comes_up(child: &mut Child, port: u16) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Writes the registry's own storage layout.
fn seed(root: &Path, name: &str, image: &Small) {
    let write = |path: String, bytes: &[u8]| {
        let path = root.join("docker/registry/v2").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let store = |bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        let hex = digest.hex();
        write(format!("blobs/sha256/{}/{hex}/data", &hex[..2]), bytes);
        digest
    };
    let repository = format!("repositories/{name}");
    for blob in [&image.layer, &image.config] {
        let digest = store(blob);
        let link = format!("{repository}/_layers/sha256/{}/link", digest.hex());
        write(link, digest.as_str().as_bytes());
    }
    let digest = store(&image.manifest);
    let (link, hex) = (digest.as_str().as_bytes(), digest.hex());
    write(format!("{repository}/_manifests/revisions/sha256/{hex}/link"), link);
    write(format!("{repository}/_manifests/tags/latest/current/link"), link);
    write(format!("{repository}/_manifests/tags/latest/index/sha256/{hex}/link"), link);
}
