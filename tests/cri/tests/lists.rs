//! Lists beside what is said of each item alone, after each kind of change: what is kept ready for lists
//! must never be older than the last answer.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, pod};
use images::{Image, Layer, Packing, Style};
use std::collections::BTreeSet;

/// What a list says of a container, from its status.
fn item_of(status: v1::ContainerStatus, pod: &str) -> v1::Container {
    v1::Container {
        id: status.id,
        pod_sandbox_id: pod.to_owned(),
        metadata: status.metadata,
        image: status.image,
        image_ref: status.image_id.clone(),
        state: status.state,
        created_at: status.created_at,
        labels: status.labels,
        annotations: status.annotations,
        image_id: status.image_id,
    }
}

async fn containers(client: &mut Client) -> Vec<v1::Container> {
    let request = v1::ListContainersRequest { filter: None };
    client.runtime.list_containers(request).await.expect("list").into_inner().containers
}

/// The names in the list of images, and that image by image is the same.
async fn images_of(client: &mut Client) -> BTreeSet<String> {
    let request = v1::ListImagesRequest { filter: None };
    let all = client.images.list_images(request).await.expect("list").into_inner().images;
    let mut names = BTreeSet::new();
    for image in all {
        let spec = v1::ImageSpec { image: image.id.clone(), ..Default::default() };
        let request = v1::ImageStatusRequest { image: Some(spec), verbose: false };
        let alone = client.images.image_status(request).await.expect("status").into_inner();
        names.extend(image.repo_tags.iter().cloned());
        assert_eq!(alone.image, Some(image));
    }
    names
}

/// Pods and containers, list and status.
async fn assert_same(client: &mut Client, when: &str) {
    for one in containers(client).await {
        let status = client.container(&one.id).await.expect("status");
        assert_eq!(one, item_of(status, &one.pod_sandbox_id), "{when}");
    }
    let request = v1::ListPodSandboxRequest { filter: None };
    let pods = client.runtime.list_pod_sandbox(request).await.expect("list").into_inner().items;
    for one in pods {
        let status = client.pod(&one.id).await.expect("status").status.expect("status");
        let (state, labels, annotations) = (one.state, one.labels, one.annotations);
        assert_eq!((state, labels), (status.state, status.labels), "{when}");
        assert_eq!((one.metadata, annotations), (status.metadata, status.annotations), "{when}");
    }
}

/// The only container's state and the name of its image, in the list.
async fn told(client: &mut Client, when: &str) -> (v1::ContainerState, String) {
    assert_same(client, when).await;
    let all = containers(client).await;
    let [one] = &all[..] else { panic!("{when}: {all:?}") };
    (one.state(), one.image.clone().unwrap_or_default().image)
}

async fn annotate(client: &mut Client, id: &str, value: &str) {
    let annotations = [("changed".to_owned(), value.to_owned())].into_iter().collect();
    let request = v1::UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        annotations,
        ..Default::default()
    };
    client.runtime.update_container_resources(request).await.expect("update");
}

async fn remove_image(client: &mut Client, name: &str) {
    let image = Some(v1::ImageSpec { image: name.to_owned(), ..Default::default() });
    client.images.remove_image(v1::RemoveImageRequest { image }).await.expect("remove");
}

#[test]
fn lists_say_what_status_says_after_each_change() {
    use v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};
    let Some(mut node) = Node::start("lists-changes") else { return };
    let image = node.image(BUSY, "1");
    let of = pod("lists");
    let (pod, id) = node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let pod = client.run_pod(&of).await.expect("run");
        assert_same(client, "a pod").await;
        let mut config = container("main", &image, "sleep 1000");
        config.annotations.insert("first".to_owned(), "1".to_owned());
        let id = client.create(&pod, &config, &of).await.expect("create");
        assert_eq!(told(client, "created").await, (ContainerCreated, image.clone()));
        client.start(&id).await.expect("start");
        assert_eq!(told(client, "started").await, (ContainerRunning, image.clone()));
        annotate(client, &id, "2").await;
        let listed = containers(client).await;
        assert_eq!(listed[0].annotations.get("changed").map(String::as_str), Some("2"));
        assert_eq!(listed[0].annotations.get("first").map(String::as_str), Some("1"));
        told(client, "annotated").await;
        (pod, id)
    });
    node.kill();
    node.serve();
    node.run(async |client: &mut Client| {
        assert_eq!(told(client, "found again").await, (ContainerRunning, image.clone()));
        client.stop(&id, 0).await.expect("stop");
        assert_eq!(told(client, "ended").await, (ContainerExited, image.clone()));
        client.stop_pod(&pod).await.expect("stop");
        told(client, "its pod is stopped").await;
        client.remove(&id).await.expect("remove");
        assert_eq!(containers(client).await, []);
        client.remove_pod(&pod).await.expect("remove");
        assert_same(client, "nothing").await;
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

/// An image with a program, which differs by a text from others.
fn variant(text: &str) -> Image {
    let program = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox"));
    let program = program.expect("busybox-static is installed");
    let layer = Layer::new().file_of_mode("bin/busybox", 0o755, &program);
    let config = serde_json::json!({"config": {"Labels": {"which": text}}});
    Image::with(vec![(layer, Packing::Gzip)], Style::Oci, &config)
}

#[test]
fn images_of_containers_have_the_names_of_this_moment() {
    let Some(node) = Node::start("lists-images") else { return };
    let (first, second) = (variant("first"), variant("second"));
    node.push("test/moves", "a", &first);
    node.push("test/moves", "b", &first);
    let name = |tag: &str| node.image("test/moves", tag);
    let (a, b) = (name("a"), name("b"));
    node.run(async |client: &mut Client| {
        let id = client.pull(&a).await;
        assert_eq!(images_of(client).await, BTreeSet::from([a.clone()]));
        let of = pod("moves");
        let pod = client.run_pod(&of).await.expect("run");
        let mut config = container("main", &a, "");
        config.command = ["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec();
        client.create(&pod, &config, &of).await.expect("create");
        assert_eq!(told(client, "made").await.1, a);
        assert_eq!(client.pull(&b).await, id);
        assert_eq!(images_of(client).await, BTreeSet::from([a.clone(), b.clone()]));
        assert_eq!(told(client, "another name").await.1, a, "the one that was asked for");
        // The name moves to another image.
        node.push("test/moves", "a", &second);
        assert_ne!(client.pull(&a).await, id);
        assert_eq!(told(client, "the name moved").await.1, b, "the name that it still has");
        remove_image(client, &id).await;
        assert_eq!(told(client, "the image is removed").await.1, a, "what was asked for");
        assert_eq!(images_of(client).await, BTreeSet::from([a.clone()]));
        assert_eq!(client.pull(&b).await, id);
        assert_eq!(told(client, "the image came again").await.1, b);
        client.remove_pod(&pod).await.expect("remove");
        assert_eq!(containers(client).await, []);
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}
