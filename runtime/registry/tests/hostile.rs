//! Registries that attack: the cases 14 to 19 of the threat list, section B (19 is in `transfer.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use registry::spec::{Digest, MediaType, Platform};
use registry::{Client, Config, Credentials, Kind, Reference, Repository};

use support::certs::Authority;
use support::fake::{Fake, Reply, Request};
use support::image::Small;
use support::{Dir, client, client_with, config};

const SECRET: &str = "hunter2-s3cret";

fn password() -> Option<Credentials> {
    Some(Credentials::password("me", SECRET))
}

async fn open(client: &Client, host: &str, credentials: Option<Credentials>) -> Repository {
    let reference: Reference = format!("{host}/app").parse().unwrap();
    client.repository(&reference, credentials).await.unwrap()
}

/// Whether a request carries the password in any form.
fn carries_secret(request: &Request) -> bool {
    // The base64 of me:hunter2-s3cret.
    let all = format!("{request:?}");
    all.contains(SECRET)
        || all.contains("bWU6aHVudGVyMi1zM2NyZXQ=")
        || all.contains("refresh_token")
}

fn challenge(realm: &str) -> Reply {
    Reply::new(401).header("WWW-Authenticate", format!("Bearer realm=\"{realm}\",service=\"s\""))
}

fn token(token: &str) -> Reply {
    Reply::new(200).body(format!("{{\"token\":\"{token}\"}}"))
}

/// Case 14: the registry names a token service on another host.
#[tokio::test]
async fn credentials_do_not_go_to_a_realm_of_another_host() {
    let thief = Fake::start(|_| token("t"));
    // The same listener under another name.
    let realm = thief.url().replace("127.0.0.1", "localhost");
    let image = Small::new(10);
    let fake = Fake::start(move |request| match request.header("authorization") {
        Some("Bearer t") => image.answer(request),
        _ => challenge(&format!("{realm}/token")),
    });
    for credentials in [password(), Some(Credentials::identity(SECRET))] {
        let repository = open(&client(), &fake.host(), credentials).await;
        // It is asked, without them: an anonymous pull may go on.
        repository.fetch().await.unwrap();
    }
    assert!(thief.seen().len() >= 2);
    assert!(
        thief.seen().iter().all(|r| !carries_secret(r) && r.method == "GET"),
        "{:?}",
        thief.seen()
    );
    assert!(fake.seen().iter().all(|r| !carries_secret(r)), "a bearer registry sees no password");

    let strict = Fake::start(|_| Reply::new(401));
    let realm = strict.url().replace("127.0.0.1", "localhost");
    let fake = Fake::start(move |_| challenge(&realm));
    let error = open(&client(), &fake.host(), password()).await.fetch().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized, "{error}");
    assert!(error.advice().unwrap().contains("auth_realms"), "{error}");
}

#[tokio::test]
async fn listed_realms_and_own_hosts_get_credentials() {
    let service = Fake::start(|request| {
        let basic = request.header("authorization") == Some("Basic bWU6aHVudGVyMi1zM2NyZXQ=");
        let form =
            request.body.contains("grant_type=refresh_token") && request.body.contains(SECRET);
        if basic || form { token("good") } else { Reply::new(401) }
    });
    let dir = Dir::new();
    for (realm, listed) in [
        (service.url(), ""),
        (service.url().replace("127.0.0.1", "localhost"), "auth_realms = ['localhost']\n"),
    ] {
        for credentials in [password(), Some(Credentials::identity(SECRET))] {
            let (image, realm) = (Small::new(10), realm.clone());
            let fake = Fake::start(move |request| match request.header("authorization") {
                Some("Bearer good") => image.answer(request),
                _ => challenge(&format!("{realm}/token?x=y")),
            });
            let text = format!("server = '{}'\n{listed}", fake.url());
            dir.write(&format!("{}/hosts.toml", fake.host()), text);
            let repository = open(&client_with(&dir), &fake.host(), credentials).await;
            repository.fetch().await.unwrap();
            let before = service.seen().len();
            repository.fetch().await.unwrap();
            assert_eq!(service.seen().len(), before, "the token is kept");
        }
    }
    let asked = &service.seen()[0].path;
    assert!(asked.contains("x=y") && asked.contains("service=s"), "{asked}");
    assert!(asked.contains("scope=repository%3Aapp%3Apull"), "{asked}");
}

#[tokio::test]
async fn tokens_are_per_credentials_and_replaced_when_refused() {
    let count = AtomicUsize::new(0);
    let service =
        Fake::start(move |_| token(&format!("t{}", count.fetch_add(1, Ordering::Relaxed))));
    let (realm, image) = (service.url(), Small::new(10));
    let fake = Fake::start(move |request| match request.header("authorization") {
        // The first token is never taken.
        None | Some("Bearer t0") => challenge(&realm),
        Some(_) => image.answer(request),
    });
    let client = client();
    open(&client, &fake.host(), None).await.fetch().await.unwrap();
    assert_eq!(service.seen().len(), 2);
    open(&client, &fake.host(), None).await.fetch().await.unwrap();
    assert_eq!(service.seen().len(), 2, "shared between pulls");
    open(&client, &fake.host(), password()).await.fetch().await.unwrap();
    assert_eq!(service.seen().len(), 3, "never shared between credentials");
}

/// Case 15: a redirect leaves the registry.
#[tokio::test]
async fn redirects_to_another_host_drop_authorization() {
    let image = Small::new(10_000);
    let blob = image.layer.clone();
    let store = Fake::start(move |_| Reply::new(200).body(blob.clone()));
    let (target, served) = (store.url(), image.clone());
    let fake = Fake::start(move |request| {
        if request.header("authorization").is_none() {
            return Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        if request.path.contains("/blobs/") {
            return Reply::new(307).header("Location", format!("{target}/bucket?signature=abc"));
        }
        served.answer(request)
    });
    let dir = Dir::new();
    let text = format!("server = '{}'\nheader = {{ X-Key = '{SECRET}' }}", fake.url());
    dir.write(&format!("{}/hosts.toml", fake.host()), text);
    let repository = open(&client_with(&dir), &fake.host(), password()).await;
    let mut layer = Vec::new();
    let mut blob = repository.blob(&image.layer_descriptor());
    while let Some(piece) = blob.next().await.unwrap() {
        layer.extend_from_slice(&piece);
    }
    assert_eq!(layer, image.layer);
    assert!(fake.seen().iter().all(|r| r.header("x-key") == Some(SECRET)));
    assert!(carries_secret(&fake.seen()[1]));
    assert_eq!(store.seen().len(), 1);
    assert!(store.seen().iter().all(|r| !carries_secret(r) && r.header("authorization").is_none()));
}

/// Case 15: content at addresses of the image's own choice (CVE-2020-15157).
#[tokio::test]
async fn foreign_layers_are_never_fetched() {
    let thief = Fake::start(|_| Reply::new(200).body("x"));
    let image = Small::new(10);
    let text = String::from_utf8(image.manifest.clone()).unwrap();
    let urls = format!("\"urls\":[\"{}/layer\"],\"size\":10}}]", thief.url());
    for bad in [
        text.replace("\"size\":10}]", &urls),
        text.replace("vnd.oci.image.layer.v1.tar", "vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    ] {
        assert_ne!(bad, text);
        let fake = Fake::start(move |_| {
            Reply::new(200).header("Content-Type", MediaType::Manifest).body(bad.clone())
        });
        let error = open(&client(), &fake.host(), None).await.fetch().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains("layers[0]"), "{error}");
    }
    assert!(thief.seen().is_empty());
}

/// Case 16: the ways into the node, by redirect, realm and name.
#[tokio::test]
async fn nothing_leads_to_metadata_services() {
    const METADATA: [&str; 4] = [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/x",
        "http://[::ffff:169.254.169.254]/x",
        "http://2852039166/decimal",
    ];
    for target in METADATA {
        let fakes = [
            Fake::start(move |_| Reply::new(302).header("Location", target)),
            Fake::start(move |_| challenge(target)),
        ];
        for fake in fakes {
            let error = open(&client(), &fake.host(), password()).await.fetch().await.unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{target}: {error}");
        }
    }
    for name in ["169.254.169.254", "[fe80::1]", "100.100.100.200"] {
        let error = open(&client(), name, None).await.fetch().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{name}: {error}");
        assert!(error.to_string().contains("metadata"), "{error}");
    }
}

/// Case 16: a name that DNS (here the hosts file) sends to this machine is checked after the look-up.
#[tokio::test]
async fn names_are_checked_after_the_look_up() {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let own = hosts.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let own = own.filter(|(ip, _)| ip.starts_with("127.") || *ip == "::1");
    let mut names = own.flat_map(|(_, names)| names.split_whitespace());
    let fit = |name: &&str| {
        !name.starts_with("localhost") && format!("{name}:1/a").parse::<Reference>().is_ok()
    };
    let Some(name) = names.find(fit).map(str::to_owned) else {
        lab::skip("registry: no name but localhost leads to the loopback device in /etc/hosts");
        return;
    };
    let fake = Fake::start(|_| Reply::new(200));
    let port = fake.host().rsplit(':').next().unwrap().to_owned();
    let error = open(&client(), &format!("{name}:{port}"), None).await.fetch().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(fake.seen().is_empty());
}

/// Case 17: from TLS to plain HTTP, by redirect and by realm.
#[tokio::test]
async fn tls_is_never_left() {
    let plain = Fake::start(|_| token("t"));
    let authority = Authority::new();
    let tls = authority.issue().server();
    let (to, realm) = (plain.url(), plain.url());
    let fakes = [
        Fake::tls(tls.clone(), move |_| Reply::new(302).header("Location", format!("{to}/x"))),
        Fake::tls(tls, move |_| challenge(&realm)),
    ];
    for fake in fakes {
        let dir = Dir::new();
        let ca = dir.write("ca.pem", authority.pem());
        let text = format!("server = '{}'\nca = '{}'", fake.url(), ca.display());
        dir.write(&format!("{}/hosts.toml", fake.host()), text);
        let error =
            open(&client_with(&dir), &fake.host(), password()).await.fetch().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.to_string().contains("TLS"), "{error}");
    }
    assert!(plain.seen().is_empty());
}

/// Case 17: a mirror that answers with the content of another image.
#[tokio::test]
async fn a_mirror_of_another_namespace_is_found_out() {
    let (other, image) = (Small::new(20), Small::new(10));
    let wanted = image.digest();
    let answers = other.clone();
    let mirror = Fake::start(move |_| {
        Reply::new(200).header("Content-Type", MediaType::Manifest).body(answers.manifest.clone())
    });
    let good = Fake::start(move |request| image.answer(request));
    let dir = Dir::new();
    let text =
        format!("server = '{}'\n[host.'{}']\ncapabilities = ['pull']", good.url(), mirror.url());
    dir.write(&format!("{}/hosts.toml", good.host()), text);
    let client = client_with(&dir);
    let pinned: Reference = format!("{}/app@{wanted}", good.host()).parse().unwrap();
    let found = client.repository(&pinned, password()).await.unwrap().fetch().await.unwrap();
    assert_eq!(found.descriptor.digest, wanted);
    assert_eq!((mirror.seen().len(), good.seen().len()), (1, 1));
    assert!(mirror.seen()[0].path.contains("?ns=127.0.0.1%3A"), "{:?}", mirror.seen());
    // A mirror that may not resolve is not asked what a tag means.
    open(&client, &good.host(), None).await.fetch().await.unwrap();
    assert_eq!(mirror.seen().len(), 1);
    assert!(mirror.seen().iter().all(|r| !carries_secret(r)));
}

/// Case 18: no failure shows a credential.
#[tokio::test]
async fn errors_hold_no_credentials() {
    let echo = |status| {
        Fake::start(move |request: &Request| match request.header("authorization") {
            None => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\""),
            // A hostile registry repeats what it was sent.
            Some(secret) => Reply::new(status)
                .header("Location", format!("http://me:{SECRET}@127.0.0.1:1/?{secret}"))
                .body(format!(
                    r#"{{"errors":[{{"code":"{secret}","message":"{secret} {SECRET}"}}]}}"#
                )),
        })
    };
    let few = Client::new(Config { retries: 0, ..config() });
    for status in [302, 400, 401, 403, 404, 429, 500, 200] {
        let fake = echo(status);
        let repository = open(&few, &fake.host(), password()).await;
        let error = repository.fetch().await.unwrap_err();
        let shown = format!("{error} {error:?} {repository:?} {few:?}");
        assert!(!shown.contains(SECRET) && !shown.contains("bWU6"), "{status}: {shown}");
        assert!(fake.seen().iter().any(carries_secret), "{status}: was sent");
    }
}

#[tokio::test]
async fn indexes_nest_only_so_deep() {
    // An index cannot hold its own digest, so the chain is made from its end.
    let mut bodies = vec![Small::new(10).manifest];
    let mut media = MediaType::Manifest;
    for _ in 0..5 {
        let last = &bodies[bodies.len() - 1];
        let (digest, size) = (Digest::sha256(last), last.len());
        let entry = format!(r#"{{"mediaType":"{media}","digest":"{digest}","size":{size}}}"#);
        bodies.push(format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).into_bytes());
        media = MediaType::Index;
    }
    let image = Small::new(10);
    let fake = Fake::start(move |request| {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        let known = bodies.iter().find(|body| Digest::sha256(body).as_str() == name);
        let top = (name == "latest").then(|| &bodies[bodies.len() - 1]);
        match known.or(top) {
            Some(body) => Reply::new(200).body(body.clone()),
            None => image.answer(request),
        }
    });
    let error =
        open(&client(), &fake.host(), None).await.image(&Platform::host()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("nested"), "{error}");
}

#[tokio::test]
async fn redirects_end() {
    let fake = Fake::start(|request| Reply::new(307).header("Location", &request.path));
    let error = open(&client(), &fake.host(), None).await.fetch().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert_eq!(fake.seen().len(), 6);
}
