//! Debian's `docker-registry`: TLS, passwords, client certificates, mirrors, `config.json` and its helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod support;

use registry::spec::Platform;
use registry::{Client, Config, Credentials, Image, Kind, Reference, Repository};

use support::certs::{Authority, Pair};
use support::debian::{Registry, Wants, available};
use support::fake::{Fake, Reply};
use support::image::Small;
use support::{Dir, client_with, config};

struct Site {
    registry: Registry,
    image: Small,
    dir: Dir,
}

/// A registry with TLS and a password, and a `certs.d` that knows its authority.
fn site(more: &str) -> Site {
    let (authority, image, dir) = (Authority::new(), Small::new(300_000), Dir::new());
    let pair = authority.issue();
    let wants = Wants { tls: Some(&pair), password: true, client_ca: None };
    let registry = Registry::start(&wants, "team/app", &image);
    let host = registry.host();
    dir.write("ca.pem", authority.pem());
    let text = format!("server = 'https://{host}'\nca = '../ca.pem'\n{more}");
    dir.write(&format!("{host}/hosts.toml"), text);
    Site { registry, image, dir }
}

async fn open(client: &Client, name: &str, credentials: Option<Credentials>) -> Repository {
    let reference: Reference = name.parse().unwrap();
    client.repository(&reference, credentials).await.unwrap()
}

async fn pull(repository: &Repository) -> registry::Result<(Image, Vec<u8>)> {
    let image = repository.image(&Platform::new("linux", "amd64", "")).await?;
    let mut blob = repository.blob(&image.manifest.layers[0]);
    let mut bytes = Vec::new();
    while let Some(piece) = blob.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((image, bytes))
}

#[tokio::test]
async fn pulls_over_tls_with_a_password() {
    if !available() {
        return;
    }
    let site = site("");
    let name = format!("{}/team/app", site.registry.host());
    let client = client_with(&site.dir);
    let good = open(&client, &name, Some(Credentials::password("me", "hunter2"))).await;
    let (image, layer) = pull(&good).await.unwrap();
    assert_eq!(layer, site.image.layer);
    assert_eq!(image.target.digest, site.image.digest());
    assert_eq!(good.resolve().await.unwrap(), image.target);
    let pinned = format!("{name}@{}", site.image.digest());
    pull(&open(&client, &pinned, Some(Credentials::password("me", "hunter2"))).await)
        .await
        .unwrap();

    let none = pull(&open(&client, &name, None).await).await.unwrap_err();
    assert_eq!(none.kind(), Kind::Unauthorized, "{none}");
    let wrong = Some(Credentials::password("me", "wr0ng-secret"));
    let wrong = pull(&open(&client, &name, wrong).await).await.unwrap_err();
    assert_eq!(wrong.kind(), Kind::Unauthorized, "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains("wr0ng-secret"));
    let missing =
        open(&client, &format!("{name}:nope"), Some(Credentials::password("me", "hunter2"))).await;
    let missing = pull(&missing).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound, "{missing}");
    assert!(missing.to_string().contains("MANIFEST_UNKNOWN"), "{missing}");
}

#[tokio::test]
async fn credentials_come_from_the_operators_files() {
    if !available() {
        return;
    }
    let site = site("username = 'me'\npassword_file = '../password'\n");
    site.dir.write("password", "hunter2\n");
    let host = site.registry.host();
    pull(&open(&client_with(&site.dir), &format!("{host}/team/app"), None).await).await.unwrap();

    // bWU6aHVudGVyMg== is me:hunter2
    site.dir.write(
        &format!("{host}/hosts.toml"),
        format!("server = 'https://{host}'\nca = '../ca.pem'"),
    );
    let docker = site
        .dir
        .write("config.json", format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6aHVudGVyMg=="}}}}}}"#));
    let both = Config {
        certs_d: vec![site.dir.path().to_owned()],
        docker_config: Some(docker),
        ..config()
    };
    pull(&open(&Client::new(both), &format!("{host}/team/app"), None).await).await.unwrap();
}

#[tokio::test]
async fn an_unknown_authority_is_a_tls_error_unless_told() {
    if !available() {
        return;
    }
    let site = site("");
    let host = site.registry.host();
    let file = format!("{host}/hosts.toml");
    let name = format!("{host}/team/app");
    let password = || Some(Credentials::password("me", "hunter2"));
    site.dir.write(&file, format!("server = 'https://{host}'"));
    let error = pull(&open(&client_with(&site.dir), &name, password()).await).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Tls, "{error}");
    site.dir.write(&file, format!("server = 'https://{host}'\nskip_verify = true"));
    pull(&open(&client_with(&site.dir), &name, password()).await).await.unwrap();
}

#[tokio::test]
async fn client_certificates_are_shown() {
    if !available() {
        return;
    }
    let (authority, image, dir) = (Authority::new(), Small::new(1000), Dir::new());
    let pair = authority.issue();
    let wants = Wants { tls: Some(&pair), password: false, client_ca: Some(authority.pem()) };
    let registry = Registry::start(&wants, "app", &image);
    let host = registry.host();
    dir.write(&format!("{host}/ca.crt"), authority.pem());
    let name = format!("{host}/app");
    let error = pull(&open(&client_with(&dir), &name, None).await).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Tls | Kind::Unavailable), "{error}");
    let Pair { cert, key } = authority.issue();
    dir.write(&format!("{host}/client.cert"), cert);
    dir.write(&format!("{host}/client.key"), key);
    pull(&open(&client_with(&dir), &name, None).await).await.unwrap();
}

#[tokio::test]
async fn mirrors_are_tried_first_and_fallen_back_from() {
    if !available() {
        return;
    }
    let broken = Fake::start(|_| Reply::new(503));
    let image = Small::new(50_000);
    let (upstream, mirror) = (
        Registry::start(&Wants::default(), "app", &image),
        Registry::start(&Wants::default(), "app", &image),
    );
    let (dir, host) = (Dir::new(), upstream.host());
    let text = format!(
        "server = 'http://{host}'\n[host.'{}']\n[host.'http://{}']",
        broken.url(),
        mirror.host()
    );
    dir.write(&format!("{host}/hosts.toml"), text);
    let name = format!("{host}/app");
    let repository = open(&client_with(&dir), &name, None).await;
    assert_eq!(repository.hosts(), [broken.host(), mirror.host(), host.clone()]);
    assert_eq!(pull(&repository).await.unwrap().1, image.layer);
    let asked = broken.seen();
    assert!(
        !asked.is_empty()
            && asked.iter().all(|r| r.path.ends_with(&format!("?ns={}", host.replace(':', "%3A"))))
    );
    drop(mirror);
    pull(&open(&client_with(&dir), &name, None).await).await.unwrap();
}
