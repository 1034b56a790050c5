//! The image service: every call and its failures.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node};
use images::Registry;
use tonic::Code;

/// `user:correct horse` in base64.
const PACKED: &str = "dXNlcjpjb3JyZWN0IGhvcnNl";

fn spec(name: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec { image: name.to_owned(), ..Default::default() })
}

async fn status(client: &mut Client, name: &str) -> v1::ImageStatusResponse {
    let request = v1::ImageStatusRequest { image: spec(name), verbose: true };
    client.images.image_status(request).await.expect("status").into_inner()
}

async fn listed(client: &mut Client, name: Option<&str>) -> Vec<v1::Image> {
    let filter = name.map(|name| v1::ImageFilter { image: spec(name) });
    let request = v1::ListImagesRequest { filter };
    client.images.list_images(request).await.expect("list").into_inner().images
}

async fn remove(client: &mut Client, name: &str) {
    let request = v1::RemoveImageRequest { image: spec(name) };
    client.images.remove_image(request).await.expect("remove");
}

#[test]
fn an_image_comes_is_described_and_goes() {
    let Some(node) = Node::start("images-life") else { return };
    node.push(BUSY, "pinned", &images::small());
    let (name, pinned) = (node.image(BUSY, "1"), node.image(BUSY, "pinned"));
    node.run(async |client: &mut Client| {
        assert_eq!(status(client, &name).await, v1::ImageStatusResponse::default());
        let id = client.pull(&name).await;
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        assert_eq!(client.pull(&name).await, id, "a second pull");

        let by_name = status(client, &name).await;
        let image = by_name.image.expect("there");
        assert_eq!((image.id.as_str(), image.pinned), (id.as_str(), false));
        assert_eq!(image.repo_tags, [name.as_str()]);
        assert_eq!(image.repo_digests.len(), 1);
        assert!(image.size > 100_000, "{}", image.size);
        assert_eq!(image.uid.map(|uid| uid.value), Some(0));
        let info: serde_json::Value = serde_json::from_str(&by_name.info["info"]).expect("JSON");
        assert_eq!(info["imageSpec"]["config"]["Cmd"][0], "sleep");
        for other in [&id, &id[7..], &id[7..19], &image.repo_digests[0]] {
            assert_eq!(status(client, other).await.image.expect(other).id, id, "{other}");
        }

        client.pull(&pinned).await;
        assert!(status(client, &pinned).await.image.expect("there").pinned);
        assert_eq!(listed(client, None).await.len(), 2);
        assert_eq!(listed(client, Some(&name)).await[0].id, id);
        assert_eq!(listed(client, Some("127.0.0.1:1/absent:1")).await, []);
        let request = v1::StreamImagesRequest { filter: None };
        let mut stream = client.images.stream_images(request).await.expect("stream").into_inner();
        assert_eq!(stream.message().await.expect("piece").expect("one").images.len(), 2);
        assert!(stream.message().await.expect("end").is_none());

        remove(client, &name).await;
        remove(client, &name).await;
        assert_eq!(status(client, &name).await.image, None);
        assert_eq!(listed(client, None).await.len(), 1);
    });
}

#[test]
fn space_is_told_from_the_books() {
    let Some(node) = Node::start("images-space") else { return };
    let name = node.image(BUSY, "1");
    node.run(async |client: &mut Client| {
        let before = client.images.image_fs_info(v1::ImageFsInfoRequest {}).await;
        let before = before.expect("info").into_inner();
        client.pull(&name).await;
        let after = client.images.image_fs_info(v1::ImageFsInfoRequest {}).await;
        let after = after.expect("info").into_inner();
        let used = |info: &v1::ImageFsInfoResponse| {
            let one = &info.image_filesystems[0];
            (one.used_bytes.expect("bytes").value, one.inodes_used.expect("inodes").value)
        };
        assert!(used(&after).0 > used(&before).0 + 1_000_000);
        assert!(used(&after).1 > used(&before).1 + 10);
        assert!(after.image_filesystems[0].timestamp > 0);
        assert_eq!(after.container_filesystems.len(), 1);
        let at = &after.image_filesystems[0].fs_id.as_ref().expect("id").mountpoint;
        assert!(std::path::Path::new(at).is_dir(), "{at}");
    });
}

#[test]
fn failures_have_the_codes_that_clients_expect() {
    let Some(node) = Node::start("images-failures") else { return };
    let absent = node.image("test/absent", "1");
    let guarded = format!("{}/{BUSY}:1", node.registry().host());
    node.run(async |client: &mut Client| {
        for (name, wanted) in [
            ("", Code::InvalidArgument),
            ("Not A Name", Code::InvalidArgument),
            (absent.as_str(), Code::NotFound),
            ("127.0.0.1:1/nobody/listens:1", Code::Unavailable),
            (guarded.as_str(), Code::PermissionDenied),
        ] {
            let request = v1::PullImageRequest { image: spec(name), ..Default::default() };
            let refused = client.images.pull_image(request).await.expect_err(name);
            assert_eq!(refused.code(), wanted, "{name}: {}", refused.message());
        }
        let none = v1::ImageStatusRequest { image: None, verbose: false };
        let refused = client.images.image_status(none).await.expect_err("no name");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let none = v1::RemoveImageRequest { image: None };
        let refused = client.images.remove_image(none).await.expect_err("no name");
        assert_eq!(refused.code(), Code::InvalidArgument);
    });
    assert!(!node.log().contains(Registry::PASSWORD));
}

#[test]
fn an_image_behind_a_password_comes_with_credentials_alone() {
    let Some(node) = Node::start("images-guarded") else { return };
    let guarded = format!("{}/{BUSY}:1", node.registry().host());
    let auth = |auth: v1::AuthConfig| v1::PullImageRequest {
        image: spec(&guarded),
        auth: Some(auth),
        sandbox_config: None,
    };
    node.run(async |client: &mut Client| {
        let named = v1::AuthConfig {
            username: Registry::USER.to_owned(),
            password: Registry::PASSWORD.to_owned(),
            server_address: node.registry().host(),
            ..Default::default()
        };
        let pulled = client.images.pull_image(auth(named)).await.expect("pull").into_inner();
        let image = status(client, &guarded).await.image.expect("there");
        assert_eq!(image.id, pulled.image_ref);
        remove(client, &guarded).await;
        // As secrets of kubelet have it: USER:PASSWORD in base64.
        let packed = v1::AuthConfig { auth: PACKED.to_owned(), ..Default::default() };
        let again = client.images.pull_image(auth(packed)).await.expect("pull").into_inner();
        assert_eq!(again.image_ref, pulled.image_ref);
        remove(client, &guarded).await;
        let refused = client.images.pull_image(auth(v1::AuthConfig::default())).await;
        assert_eq!(refused.expect_err("no credentials").code(), Code::PermissionDenied);
    });
    let log = node.log();
    assert!(!log.contains(Registry::PASSWORD) && !log.contains(PACKED), "{log}");
}

#[test]
fn credentials_are_passed_on_and_never_shown() {
    let Some(node) = Node::start("images-credentials") else { return };
    // Both ports of the registry serve the same files only to who pushed there: one to each.
    let guarded = format!("{}/{BUSY}:1", node.registry().host());
    node.run(async |client: &mut Client| {
        for (password, wanted) in
            [("wrong secret", Code::PermissionDenied), (Registry::PASSWORD, Code::NotFound)]
        {
            let auth = v1::AuthConfig {
                username: Registry::USER.to_owned(),
                password: password.to_owned(),
                ..Default::default()
            };
            let request = v1::PullImageRequest {
                image: spec(&guarded.replace(":1", ":absent")),
                auth: Some(auth),
                sandbox_config: None,
            };
            let refused = client.images.pull_image(request).await.expect_err("absent");
            assert_eq!(refused.code(), wanted, "{}", refused.message());
            assert!(!refused.message().contains(password), "{}", refused.message());
        }
    });
    assert!(!node.log().contains(Registry::PASSWORD) && !node.log().contains("wrong secret"));
}
