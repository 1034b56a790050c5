//! Debian's docker-registry on loopback.

use crate::http::request;
use crate::image::{Image, Index};
use crate::scratch::Scratch;
use content_digest::Digest;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A registry that runs until it is dropped, at two ports: one with TLS and a password, as it is
/// pulled from, and one without either, by which tests push.
#[derive(Debug)]
pub struct Registry {
    scratch: Scratch,
    programs: Vec<Child>,
    /// The port with TLS and password.
    pub port: u16,
    /// The port without.
    pub plain_port: u16,
}

impl Registry {
    /// The user's name.
    pub const USER: &str = "user";
    /// The user's password.
    pub const PASSWORD: &str = "correct horse";

    /// Starts it; none when the programs `docker-registry` and `htpasswd` are not installed.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Option<Registry> {
        let there = |program: &str| {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            found.is_ok_and(|output| output.status.success())
        };
        if !["docker-registry", "htpasswd", "setpriv"].into_iter().all(there) {
            return None;
        }
        let scratch = Scratch::new("registry");
        certificates(&scratch);
        password(&scratch);
        let mut registry =
            Registry { scratch, programs: Vec::new(), port: free_port(), plain_port: free_port() };
        registry.serve(registry.plain_port, false);
        registry.serve(registry.port, true);
        Some(registry)
    }

    fn serve(&mut self, port: u16, is_guarded: bool) {
        let dir = self.scratch.dir().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {dir}/data\n  \
             maintenance:\n    uploadpurging:\n      enabled: false\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:{port}\n"
        );
        if is_guarded {
            config.push_str(&format!(
                "  tls:\n    certificate: {dir}/server.pem\n    key: {dir}/server.key\n\
                 auth:\n  htpasswd:\n    realm: tests\n    path: {dir}/htpasswd\n"
            ));
        }
        let file = self.scratch.path(&format!("config-{port}.yml"));
        fs::write(&file, config).expect("configuration");
        let log = fs::File::create(self.scratch.path(&format!("log-{port}"))).expect("log");
        // Should the test be killed, its registry goes too.
        let program = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.programs.push(program.expect("docker-registry"));
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = self.scratch.path(&format!("log-{port}"));
            let in_time = start.elapsed() < Duration::from_secs(20);
            assert!(in_time, "registry: {}", fs::read_to_string(log).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its name with TLS and password, as references have it.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Its name without either.
    pub fn plain_host(&self) -> String {
        format!("127.0.0.1:{}", self.plain_port)
    }

    /// The certificate of the authority that signed its own, PEM.
    pub fn authority(&self) -> PathBuf {
        self.scratch.path("ca.pem")
    }

    /// User and password as the command line takes them.
    pub fn credentials() -> String {
        format!("{}:{}", Registry::USER, Registry::PASSWORD)
    }

    /// Pushes an image under a tag.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) {
        self.push_blobs(repository, image);
        self.push_manifest(repository, tag, image.media_type, &image.manifest);
    }

    /// Pushes an index with its images under a tag.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn push_index(&self, repository: &str, tag: &str, index: &Index) {
        for image in &index.images {
            self.push(repository, image.digest().as_str(), image);
        }
        self.push_manifest(repository, tag, index.media_type, &index.text);
    }

    fn push_blobs(&self, repository: &str, image: &Image) {
        for (digest, bytes) in &image.blobs {
            let line = format!("HEAD /v2/{repository}/blobs/{digest}");
            if request(self.plain_port, &line, &[], b"").status != 200 {
                self.push_blob(repository, digest, bytes);
            }
        }
    }

    fn push_blob(&self, repository: &str, digest: &Digest, bytes: &[u8]) {
        let line = format!("POST /v2/{repository}/blobs/uploads/");
        let begun = request(self.plain_port, &line, &[], b"");
        assert_eq!(begun.status, 202, "{begun:?}");
        let place = begun.header("location").expect("location");
        let path = place.split_once("/v2/").map(|(_, path)| path).expect("path");
        let joint = if path.contains('?') { '&' } else { '?' };
        let line = format!("PUT /v2/{path}{joint}digest={digest}");
        let headers = [("Content-Type", "application/octet-stream")];
        let done = request(self.plain_port, &line, &headers, bytes);
        assert_eq!(done.status, 201, "{done:?}");
    }

    /// Pushes a manifest or index as it is.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn push_manifest(&self, repository: &str, tag: &str, media_type: &str, text: &[u8]) {
        let line = format!("PUT /v2/{repository}/manifests/{tag}");
        let done = request(self.plain_port, &line, &[("Content-Type", media_type)], text);
        assert_eq!(done.status, 201, "{}", String::from_utf8_lossy(&done.body));
    }

    /// Where it keeps a blob, to damage it.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let place = format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        self.scratch.path(&place)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for program in &mut self.programs {
            let _ended = program.kill().and_then(|()| program.wait());
        }
    }
}

/// A port of loopback that nobody uses at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    listener.local_addr().expect("address").port()
}

fn certificates(scratch: &Scratch) {
    let mut params = CertificateParams::new(Vec::new()).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("key");
    let authority = params.self_signed(&key).expect("authority");
    let issuer = Issuer::new(params, key);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let server_key = KeyPair::generate().expect("key");
    let server = params.signed_by(&server_key, &issuer).expect("certificate");
    fs::write(scratch.path("ca.pem"), authority.pem()).expect("authority");
    fs::write(scratch.path("server.pem"), server.pem()).expect("certificate");
    fs::write(scratch.path("server.key"), server_key.serialize_pem()).expect("key");
}

fn password(scratch: &Scratch) {
    // The lowest cost: the registry checks the password at each request.
    let made = Command::new("htpasswd")
        .args(["-B", "-C", "4", "-b", "-n", Registry::USER, Registry::PASSWORD])
        .output()
        .expect("htpasswd");
    assert!(made.status.success(), "{made:?}");
    fs::write(scratch.path("htpasswd"), made.stdout).expect("password");
}
