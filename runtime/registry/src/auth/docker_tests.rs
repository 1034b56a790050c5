use super::*;

fn config(text: &str) -> Result<DockerConfig> {
    DockerConfig::parse(Path::new("/x/config.json"), text.as_bytes())
}

async fn find(text: &str, registry: &str) -> Option<Credentials> {
    config(text).unwrap().find(registry).await.unwrap()
}

#[tokio::test]
async fn entries_are_found_by_host() {
    // dXNlcjpwYTpzcw== is user:pa:ss
    let text = r#"{"auths":{
        "https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="},
        "quay.io":{"username":"u","password":"p"},
        "reg.example:5000":{"identitytoken":"it"},
        "https://old.example/v2/":{"registrytoken":"rt"},
        "empty.example":{}},"HttpHeaders":{"X":"y"}}"#;
    let user = Some(Credentials::password("user", "pa:ss"));
    assert_eq!(find(text, "docker.io").await, user);
    assert_eq!(find(text, "registry-1.docker.io").await, user);
    assert_eq!(find(text, "quay.io").await, Some(Credentials::password("u", "p")));
    assert_eq!(find(text, "reg.example:5000").await, Some(Credentials::identity("it")));
    assert_eq!(find(text, "old.example").await, Some(Credentials::bearer("rt")));
    for none in ["empty.example", "reg.example", "quay.io.evil", "evil"] {
        assert_eq!(find(text, none).await, None, "{none}");
    }
}

#[tokio::test]
async fn malformed_entries_name_the_key_and_hide_the_secret() {
    let bad = config(r#"{"auths":{"a.b":{"auth":"s3cret!"}}}"#).unwrap();
    let error = bad.find("a.b").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("/x/config.json: auths.\"a.b\": auth"), "{error}");
    assert!(!error.to_string().contains("s3cret"));
    assert!(!format!("{bad:?}").contains("s3cret"));
    let error = config(r#"{"auths":{"a.b":{"auth":271828}}}"#).unwrap_err().to_string();
    assert!(error.contains("auths.a.b.auth") && !error.contains("271828"), "{error}");
    assert_eq!(config(r#"{"credsStore":"../../sh"}"#).unwrap_err().kind(), Kind::Config);
}

/// A folder with one helper, a shell script.
struct Helper(PathBuf);

impl Helper {
    fn new(name: &str, script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder =
            std::env::temp_dir().join(format!("podloom-helper-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        Self(folder)
    }

    async fn find(&self, registry: &str) -> Result<Option<Credentials>> {
        let text = r#"{"credsStore":"test","auths":{"b.example":{"username":"u","password":"p"}}}"#;
        let short = config(text).unwrap().helper_deadline(Duration::from_millis(500));
        let asked = short.helpers_in(&self.0);
        loop {
            match asked.find(registry).await {
                // Another test forked while the script was being written, and has not closed it yet.
                Err(e) if e.to_string().contains("Text file busy") => {
                    tokio::task::yield_now().await
                }
                answer => return answer,
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn helpers_are_asked() {
    let script = r#"[ "$1" = get ] || exit 9; read -r host; echo "{\"Username\":\"$host\",\"Secret\":\"pw\"}""#;
    let helper = Helper::new("good", script);
    let found = helper.find("a.example").await.unwrap();
    assert_eq!(found, Some(Credentials::password("a.example", "pw")));
    let docker = helper.find("docker.io").await.unwrap();
    assert_eq!(docker, Some(Credentials::password("https://index.docker.io/v1/", "pw")));
    let token = Helper::new("token", r#"echo '{"Username":"<token>","Secret":"it"}'"#);
    assert_eq!(token.find("a.example").await.unwrap(), Some(Credentials::identity("it")));
    // What has nothing leaves it to the entries of the file.
    let none = Helper::new("none", "echo credentials not found in native keychain; exit 1");
    assert_eq!(none.find("a.example").await.unwrap(), None);
    assert_eq!(none.find("b.example").await.unwrap(), Some(Credentials::password("u", "p")));
}

#[tokio::test]
async fn bad_helpers_fail_in_bounds() {
    for (name, script, why) in [
        ("hang", "exec sleep 60", "no answer within 0.5 s"),
        ("loud", "exec yes s3cret", "says too much"),
        ("fail", "echo s3cret; exit 3", "failed with exit status: 3"),
        ("text", "echo s3cret", "no JSON"),
    ] {
        let error = Helper::new(name, script).find("a.example").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error}");
        let shown = error.to_string();
        assert!(shown.contains(why) && shown.contains("docker-credential-test"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let missing = config(r#"{"credHelpers":{"a.example":"absent"}}"#).unwrap();
    let error = missing.find("a.example").await.unwrap_err();
    assert!(error.to_string().contains("cannot be started"), "{error}");
}
