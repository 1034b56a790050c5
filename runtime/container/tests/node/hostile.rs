//! Images that mean harm, and runtimes of others.

use crate::stage::{BOX, Stage, node_dir, script, secured, waiting};
use container::{Handler, Kind};
use images::{Image, Layer, Packing, Style};
use serde_json::json;
use shim_protocol::{Program, Runtime};
use std::fs;
use std::path::PathBuf;

/// Busybox with a layer over it.
fn with_layer(layer: Layer, config: &serde_json::Value) -> Image {
    let program = fs::read("/usr/bin/busybox").expect("busybox-static is installed");
    let base = Layer::new()
        .dir("bin", 0o755)
        .file_of_mode("bin/busybox", 0o755, &program)
        .symlink("bin/sh", "busybox")
        .symlink("bin/sleep", "busybox")
        .symlink("bin/touch", "busybox")
        .symlink("bin/cat", "busybox")
        .symlink("bin/ls", "busybox");
    let layers = vec![(base, Packing::Plain), (layer, Packing::Plain)];
    Image::with(layers, Style::Oci, &json!({"config": config}))
}

#[test]
fn account_files_are_read_with_a_bound() {
    let stage = Stage::new("c-bigpasswd");
    let mut passwd = b"root:x:0:0:root:/root:/bin/sh\n".to_vec();
    passwd.resize(5 << 20, b'#');
    let path = json!({"Env": ["PATH=/bin"], "User": "root"});
    let big = with_layer(Layer::new().dir("etc", 0o755).file("etc/passwd", &passwd), &path);
    let fifo = with_layer(Layer::new().dir("etc", 0o755).fifo("etc/passwd"), &json!({"User": "0"}));
    let link = Layer::new().dir("etc", 0o755).symlink("etc/passwd", "/proc/self/environ");
    let link = with_layer(link, &json!({"User": "app"}));
    stage.run(async {
        let images = [(BOX, &big), ("example.com/fifo:1", &fifo), ("example.com/link:1", &link)];
        let (node, _) = stage.open_with(&images).await;
        let pod = node.pod("hostile").await;
        let e = node.refused(&pod, waiting("big")).await;
        assert!(e.kind() == Kind::Invalid && e.to_string().contains("longer than"), "{e}");
        let of = |name: &str, image: &str| {
            let mut config = waiting(name);
            config.image.as_mut().expect("image").image = image.to_owned();
            config
        };
        let mut fifo = of("fifo", "example.com/fifo:1");
        fifo.command[0] = "/bin/sh".to_owned();
        let id = node.start(&pod, fifo).await;
        assert_eq!(node.containers.get(&id).expect("container").user().uid, 0);
        let e = node.refused(&pod, of("link", "example.com/link:1")).await;
        assert!(e.to_string().contains("is not in /etc/passwd"), "{e}");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn links_of_the_image_lead_nowhere_on_the_node() {
    let stage = Stage::new("c-links");
    let outside = node_dir(&stage, "outside");
    let away = outside.to_string_lossy().into_owned();
    // `/etc`, `/data` and a volume are links to a directory that is on the node.
    let layer = Layer::new().symlink("etc", &away).symlink("data", &away).symlink("volume", &away);
    let config = json!({"Env": ["PATH=/bin"], "Volumes": {"/volume/new": {}}});
    let image = with_layer(layer, &config);
    stage.run(async {
        let (node, _) = stage.open_with(&[(BOX, &image)]).await;
        let pod = node.pod("links").await;
        let shared = node_dir(&stage, "shared");
        let mut config = secured(waiting("c"), |c| c.readonly_rootfs = true);
        config.mounts.push(cri_api::v1::Mount {
            container_path: "/data/mounted".to_owned(),
            host_path: shared.to_string_lossy().into_owned(),
            ..Default::default()
        });
        // Whether it runs or is refused: nothing is made outside.
        if let Ok(id) = node.containers.create(&pod, config, None).await {
            drop(node.containers.start(&id).await);
        }
        assert_eq!(lab::names(&outside), Vec::<String>::new());
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn working_directories_are_not_descriptors_of_the_node() {
    let stage = Stage::new("c-cwd");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("cwd").await;
        for fd in [3, 5, 7, 9, 11] {
            let mut config =
                script(&format!("c{fd}"), "ls ../../../.. && cat ../../../../etc/shadow");
            config.working_dir = format!("/proc/self/fd/{fd}");
            match node.containers.create(&pod, config, None).await {
                Err(_) => {}
                Ok(id) => {
                    if node.containers.start(&id).await.is_ok() {
                        assert_ne!(node.ended(&id).await.0, 0, "descriptor {fd}");
                    }
                }
            }
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn other_runtimes_make_containers() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|dir| ["runc", "crun"].map(|name| dir.join(name)))
        .find(|program| program.is_file());
    let Some(program) = found else { return lab::skip("neither runc nor crun is installed") };
    with_program(program);
}

fn with_program(path: PathBuf) {
    let mut stage = Stage::new("c-program");
    let runtime = Runtime::Program(Program { path, ..Program::default() });
    let handler = Handler { runtime, ..Handler::default() };
    stage.settings.handlers.insert("other".to_owned(), handler);
    for name in ["other", "gone"] {
        stage.pods.handlers.insert(name.to_owned(), sandbox::Handler::default());
    }
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pods.run(crate::stage::pod("other"), "other").await.expect("pod");
        let id = node.start(&pod, waiting("c")).await;
        assert_eq!(node.sh(&id, "echo $OF").await, "image");
        node.containers.stop(&id, std::time::Duration::ZERO).await.expect("stop");
        assert_eq!(node.ended(&id).await.0, 137);
        node.remove(&pod).await;
        let pod = node.pods.run(crate::stage::pod("gone"), "gone").await.expect("pod");
        assert_eq!(node.refused(&pod, waiting("c")).await.kind(), Kind::Invalid);
        node.remove(&pod).await;
    });
    stage.assert_clean();
}
