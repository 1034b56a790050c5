use super::*;

/// A folder of its own that goes away again.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("podloom-hosts-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>> {
        Hosts::new(vec![self.0.clone()]).endpoints(registry)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn urls(endpoints: &[Endpoint]) -> Vec<&str> {
    endpoints.iter().map(Endpoint::url).collect()
}

#[test]
fn without_configuration_there_is_the_registry() {
    let one = |registry| Hosts::default().endpoints(registry).unwrap().remove(0).base.to_string();
    assert_eq!(one("docker.io"), "https://registry-1.docker.io/v2");
    assert_eq!(one("quay.io:444"), "https://quay.io:444/v2");
    assert_eq!(one("10.0.0.1:5000"), "https://10.0.0.1:5000/v2");
    for (loopback, url) in [
        ("localhost:5000", "http://localhost:5000/v2"),
        ("127.0.0.9:5000", "http://127.0.0.9:5000/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
    ] {
        assert_eq!(one(loopback), url);
    }
}

#[test]
fn hosts_keep_their_order_and_the_server_comes_last() {
    let dir = Dir::new("order");
    let text = r#"
        server = "https://z.example"
        [host."https://m.example"]
        capabilities = ["pull"]
        skip_verify = true
        dial_timeout = "3s"
        [host."http://a.example:5000/prefix"]
        header = { X-One = ["a", "b"], X-Two = "c" }
        username = "me"
        password = "hunter2"
        [host."https://b.example/v2/proxy"]
        override_path = true
    "#;
    dir.write("z.example/hosts.toml", text);
    let found = dir.endpoints("z.example").unwrap();
    let want = [
        "https://m.example/v2",
        "http://a.example:5000/prefix/v2",
        "https://b.example/v2/proxy",
        "https://z.example/v2",
    ];
    assert_eq!(urls(&found), want);
    assert_eq!(found.iter().map(|e| e.mirror).collect::<Vec<_>>(), [true, true, true, false]);
    assert!(found[0].tls.skip_verify && !found[0].resolve && found[0].pull);
    assert_eq!(found[0].dial_timeout, Some(Duration::from_secs(3)));
    assert_eq!(found[1].headers.len(), 3);
    assert_eq!(found[1].credentials, Some(Credentials::password("me", "hunter2")));
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[test]
fn folders_are_found_by_every_name() {
    let dir = Dir::new("names");
    dir.write("a.example_5000_/hosts.toml", "server = 'https://one.example'");
    dir.write("_default/hosts.toml", "[host.'https://cache.example']");
    assert_eq!(urls(&dir.endpoints("a.example:5000").unwrap()), ["https://one.example/v2"]);
    let by_default = dir.endpoints("docker.io").unwrap();
    assert_eq!(urls(&by_default), ["https://cache.example/v2", "https://registry-1.docker.io/v2"]);
    assert!(by_default[0].mirror && !by_default[1].mirror);
    dir.write("a.example:5000/hosts.toml", "server = 'https://two.example'");
    assert_eq!(urls(&dir.endpoints("a.example:5000").unwrap()), ["https://two.example/v2"]);
}

#[test]
fn certificates_are_read_from_the_folder() {
    let dir = Dir::new("certs");
    dir.write("d.example/ca.crt", "CA");
    dir.write("d.example/client.cert", "CERT");
    assert!(dir.endpoints("d.example").unwrap_err().to_string().contains("client.key"));
    dir.write("d.example/client.key", "KEY");
    let found = dir.endpoints("d.example").unwrap().remove(0);
    assert_eq!(found.tls.ca, [b"CA".to_vec()]);
    assert_eq!(found.tls.identity.as_deref(), Some(&b"CERT\nKEY"[..]));
    // They still count when hosts.toml exists and says nothing about them.
    dir.write(
        "d.example/hosts.toml",
        "[host.'https://m.example']\nclient = [['client.cert', 'client.key']]",
    );
    let found = dir.endpoints("d.example").unwrap();
    assert_eq!((found[0].tls.ca.len(), found[1].tls.ca.len()), (0, 1));
    assert!(found[0].tls.identity.is_some());
    dir.write("d.example/hosts.toml", "ca = 'missing.pem'");
    let error = dir.endpoints("d.example").unwrap_err().to_string();
    assert!(error.contains("hosts.toml: ca: ") && error.contains("missing.pem"), "{error}");
}

#[test]
fn files_with_secrets_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new("secret");
    let file = "p.example/password";
    dir.write("p.example/hosts.toml", "username = 'u'\npassword_file = 'password'");
    dir.write(file, "hunter2\n");
    let found = dir.endpoints("p.example").unwrap().remove(0);
    assert_eq!(found.credentials, Some(Credentials::password("u", "hunter2")));
    std::fs::set_permissions(dir.0.join(file), PermissionsExt::from_mode(0o644)).unwrap();
    let error = dir.endpoints("p.example").unwrap_err();
    assert!(error.to_string().contains("0644"), "{error}");
    assert!(error.advice().unwrap().contains("chmod"), "{error}");
}

#[test]
fn mistakes_name_their_key_and_hide_secrets() {
    for (text, place) in [
        ("server = 5", "server"),
        ("a = ", "line 1"),
        ("\n\n[host.\"ftp://x\"]", "ftp://x"),
        ("server = 'https://me:hunter2@x'", "server"),
        ("[host.'https://x']\ncapabilities = ['pul']", "capabilities"),
        ("[host.'https://x']\ndial_timeout = '3'", "dial_timeout"),
        ("[host.'https://x']\nskip_verify = 'yes'", "skip_verify"),
        ("[host.'https://x']\npassword = 'hunter2'", "username"),
        ("username = 'hunter2'", "password"),
        ("username = 'u'\npassword = 271828", "password"),
        ("username = 'u'\npassword = 'hunter2' x", "line 2"),
        ("header = { 'a b' = 'hunter2' }", "header"),
        ("header = { a = \"hunter2\\n\" }", "header"),
        ("header = { a = 271828 }", "header"),
        ("auth_realms = ['https://x']", "auth_realms"),
        ("server = 'https://x?token=hunter2'", "server"),
    ] {
        let error = HostsFile::parse(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{text}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(place), "{shown} lacks {place}");
        assert!(!shown.contains("hunter2") && !shown.contains("271828"), "{shown}");
    }
}
