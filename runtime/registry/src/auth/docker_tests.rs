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
