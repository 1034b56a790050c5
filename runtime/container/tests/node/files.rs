//! What a container sees of files: mounts, volumes, devices.

use crate::stage::{BOX, Stage, busybox, node_dir, script, secured, waiting};
use container::Kind;
use cri_api::v1::{
    CdiDevice, ContainerConfig, Device, IdMapping, ImageSpec, Mount, MountPropagation,
    NamespaceMode, UserNamespace,
};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

fn mount(node: &Path, inside: &str) -> Mount {
    Mount {
        host_path: node.to_string_lossy().into_owned(),
        container_path: inside.to_owned(),
        ..Mount::default()
    }
}

fn with(mut config: ContainerConfig, mounts: Vec<Mount>) -> ContainerConfig {
    config.mounts = mounts;
    config
}

/// A file system mounted on the node for the life of the value.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(place: &'a Path) -> Mounted<'a> {
        run("mount", &["-t", "tmpfs", "podloom-test", &place.to_string_lossy()]);
        Mounted(place)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-R").arg("-l").arg(self.0).status();
    }
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().expect("a program");
    assert!(status.success(), "{program} {args:?}");
}

#[test]
fn directories_of_the_node_are_bound() {
    let stage = Stage::new("c-mounts");
    let shared = node_dir(&stage, "shared");
    fs::write(shared.join("file"), "of the node\n").expect("file");
    symlink(&shared, stage.lab.root().join("link")).expect("link");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("mounts").await;
        let missing = stage.lab.root().join("made/on/demand");
        let mut read_only = mount(&shared, "/ro");
        read_only.readonly = true;
        let mounts = vec![
            mount(&shared, "/data/shared"),
            mount(&stage.lab.root().join("link"), "/linked"),
            mount(&shared.join("file"), "/etc/file"),
            mount(&missing, "/missing"),
            read_only,
        ];
        let id = node.start(&pod, with(waiting("c"), mounts)).await;
        let read = "cat /data/shared/file /linked/file /etc/file /ro/file | sort | wc -l";
        assert_eq!(node.sh(&id, read).await, "4");
        node.sh(&id, "echo x > /data/shared/new; touch /missing/m").await;
        assert!(shared.join("new").exists() && missing.join("m").exists());
        assert!(node.try_sh(&id, "touch /ro/x").await.exit_code != 0);
        assert_eq!(node.sh(&id, "cat /data/file").await, "of the image");
        for wrong in
            [mount(Path::new("relative"), "/x"), mount(&shared, "/a/../b"), mount(&shared, "/")]
        {
            let refused = node.refused(&pod, with(script("w", "true"), vec![wrong.clone()])).await;
            assert_eq!(refused.kind(), Kind::Invalid, "{wrong:?}");
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn mounts_propagate_as_asked() {
    let stage = Stage::new("c-propagation");
    let base = node_dir(&stage, "base");
    let mounted = Mounted::new(&base);
    run("mount", &["--make-rshared", &base.to_string_lossy()]);
    fs::create_dir(base.join("sub")).expect("sub");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("propagation").await;
        let like = |at: &str, propagation: MountPropagation| Mount {
            propagation: propagation.into(),
            ..mount(&base, at)
        };
        let mut all_read_only = mount(&base, "/rro");
        (all_read_only.readonly, all_read_only.recursive_read_only) = (true, true);
        let private = waiting("private");
        let private =
            with(private, vec![like("/p", MountPropagation::PropagationPrivate), all_read_only]);
        let private = node.start(&pod, private).await;
        let slave = like("/s", MountPropagation::PropagationHostToContainer);
        let slave = node.start(&pod, with(waiting("slave"), vec![slave])).await;
        let both = like("/b", MountPropagation::PropagationBidirectional);
        let both = secured(with(waiting("both"), vec![both]), |c| c.privileged = true);
        let both = node.start(&pod, both).await;
        run("mount", &["-t", "tmpfs", "podloom-test", &base.join("sub").to_string_lossy()]);
        fs::write(base.join("sub/late"), "x").expect("file");
        assert_eq!(node.sh(&private, "ls /p/sub").await, "");
        assert_eq!(node.sh(&slave, "ls /s/sub").await, "late");
        assert_eq!(node.sh(&both, "ls /b/sub").await, "late");
        node.sh(&both, "mkdir /b/mine && mount -t tmpfs none /b/mine && touch /b/mine/seen").await;
        assert!(base.join("mine/seen").exists(), "the node sees it");
        let mut rro = mount(&base, "/rro");
        (rro.readonly, rro.recursive_read_only) = (true, true);
        let mut ro = mount(&base, "/ro");
        ro.readonly = true;
        let below = node.start(&pod, with(waiting("below"), vec![rro, ro])).await;
        assert!(node.try_sh(&below, "touch /rro/sub/x").await.exit_code != 0);
        node.sh(&below, "touch /ro/sub/x").await;
        node.remove(&pod).await;
    });
    drop(mounted);
    stage.assert_clean();
}

#[test]
fn what_does_not_propagate_is_told() {
    let stage = Stage::new("c-private");
    let base = node_dir(&stage, "base");
    let mounted = Mounted::new(&base);
    run("mount", &["--make-private", &base.to_string_lossy()]);
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("private").await;
        for propagation in [
            MountPropagation::PropagationBidirectional,
            MountPropagation::PropagationHostToContainer,
        ] {
            let mounts = vec![Mount { propagation: propagation.into(), ..mount(&base, "/x") }];
            let e = node.refused(&pod, with(script("c", "true"), mounts)).await;
            assert!(e.to_string().contains("does not propagate"), "{e}");
        }
        node.remove(&pod).await;
    });
    drop(mounted);
    stage.assert_clean();
}

#[test]
fn files_of_the_pod_are_there() {
    let stage = Stage::new("c-podfiles");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("podfiles").await;
        let id = node.start(&pod, waiting("c")).await;
        node.sh(&id, "test -s /etc/hosts && test -f /etc/resolv.conf && test -s /etc/hostname")
            .await;
        node.sh(&id, "echo x > /dev/shm/file").await;
        let other = secured(waiting("other"), |c| c.readonly_rootfs = true);
        let other = node.start(&pod, other).await;
        assert_eq!(node.sh(&other, "cat /dev/shm/file").await, "x", "shared by the pod");
        assert!(node.try_sh(&other, "touch /x").await.exit_code != 0);
        assert!(node.try_sh(&other, "echo x > /etc/hosts").await.exit_code != 0);
        let own = stage.lab.root().join("hosts");
        fs::write(&own, "own\n").expect("hosts");
        let id = node.start(&pod, with(waiting("own"), vec![mount(&own, "/etc/hosts")])).await;
        assert_eq!(node.sh(&id, "cat /etc/hosts").await, "own");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

fn of_image(path: &str, inside: &str) -> Mount {
    Mount {
        container_path: inside.to_owned(),
        image: Some(ImageSpec { image: BOX.to_owned(), ..ImageSpec::default() }),
        image_sub_path: path.to_owned(),
        readonly: true,
        ..Mount::default()
    }
}

#[test]
fn images_are_volumes_and_nothing_leads_out_of_them() {
    let stage = Stage::new("c-imagevolume");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("imagevolume").await;
        let mounts = vec![
            of_image("", "/whole"),
            of_image("data/below", "/part"),
            of_image("data/file", "/one"),
            of_image("data/out", "/inside"),
        ];
        let id = node.start(&pod, with(waiting("c"), mounts)).await;
        let said = node.sh(&id, "cat /whole/data/file /part/deep /one; head -1 /inside").await;
        assert_eq!(said, "of the image\ndeep\nof the image\nroot:x:0:0:root:/root:/bin/sh");
        for script in
            ["touch /whole/x", "touch /part/x", "echo x > /one", "/whole/bin/busybox true"]
        {
            assert!(node.try_sh(&id, script).await.exit_code != 0, "{script}");
        }
        for (path, kind) in [
            ("../../etc", Kind::Invalid),
            ("none", Kind::NotFound),
            ("data/file/x", Kind::NotFound),
        ] {
            let refused =
                node.refused(&pod, with(script("w", "true"), vec![of_image(path, "/x")])).await;
            assert_eq!(refused.kind(), kind, "{path}: {refused}");
        }
        let mut absent = of_image("", "/x");
        absent.image.as_mut().expect("image").image = "example.com/none:1".to_owned();
        let refused = node.refused(&pod, with(script("w", "true"), vec![absent])).await;
        assert_eq!(refused.kind(), Kind::NotFound, "{refused}");
        node.remove(&pod).await;
        let left = node.images.layers().list();
        assert!(left.iter().all(|info| info.kind == snapshot::SnapshotKind::Committed), "{left:?}");
        assert_eq!(node.images.leases().expect("leases"), []);
    });
    stage.assert_clean();
}

#[test]
fn volumes_of_the_image_can_be_written() {
    let stage = Stage::new("c-volume");
    let image = busybox(&json!({"Volumes": {"/new/place": {}, "/data": {}}}));
    stage.run(async {
        let (node, _) = stage.open_with(&[(BOX, &image)]).await;
        let pod = node.pod("volume").await;
        let config = secured(waiting("c"), |c| c.readonly_rootfs = true);
        let id = node.start(&pod, config).await;
        node.sh(&id, "touch /new/place/x /data/x && grep image /data/file").await;
        assert!(node.try_sh(&id, "touch /x").await.exit_code != 0);
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn volumes_of_the_image_are_the_containers_own_and_on_the_disk() {
    let stage = Stage::new("c-own-volume");
    let shared = node_dir(&stage, "shared");
    let image = busybox(&json!({"Volumes": {"/new": {}, "/data": {}, "/mounted/below": {}}}));
    stage.run(async {
        let (node, _) = stage.open_with(&[(BOX, &image)]).await;
        let pod = node.pod("own-volume").await;
        let mut config = waiting("one");
        config.mounts.push(cri_api::v1::Mount {
            container_path: "/mounted".to_owned(),
            host_path: shared.to_string_lossy().into_owned(),
            ..Default::default()
        });
        let one = node.start(&pod, config).await;
        let two = node.start(&pod, waiting("two")).await;
        node.sh(&one, "grep image /data/file && echo own > /data/own && touch /new/own").await;
        let seen = node.sh(&two, "ls /new; ls /data").await;
        assert!(seen.lines().any(|name| name == "file") && !seen.contains("own"), "{seen}");
        let kinds = "while read a at kind b; do case $at in /data|/new) echo $kind;; esac; done";
        let kinds = node.sh(&one, &format!("{kinds} < /proc/mounts")).await;
        assert!(kinds.lines().count() == 2 && !kinds.contains("overlay"), "{kinds}");
        let dir = node.containers.get(&one).expect("container").state_dir().join("volumes");
        let own = lab::names(&dir).into_iter().map(|name| dir.join(name));
        assert_eq!(own.filter(|dir| dir.join("own").exists()).count(), 2, "of two volumes");
        assert_eq!(lab::names(&shared), Vec::<String>::new(), "what is mounted there counts");
        node.containers.remove(&one).await.expect("remove");
        assert!(!dir.exists());
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn devices_are_granted() {
    let stage = Stage::new("c-devices");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("devices").await;
        let device = |node: &str, inside: &str, permissions: &str| Device {
            host_path: node.to_owned(),
            container_path: inside.to_owned(),
            permissions: permissions.to_owned(),
        };
        let mut config = waiting("c");
        config.devices = vec![device("/dev/vcs", "/dev/k", "r"), device("/dev/net", "", "rwm")];
        let id = node.start(&pod, config).await;
        node.sh(&id, "test -c /dev/k && test -c /dev/net/tun && head -c 1 /dev/k > /dev/null")
            .await;
        assert!(node.try_sh(&id, "echo x > /dev/k").await.exit_code != 0, "only to read");
        assert!(node.try_sh(&id, "mknod /dev/m c 1 1 && head -c 1 /dev/m").await.exit_code != 0);
        for wrong in ["/dev/podloom-none", "/etc/passwd", "relative"] {
            let mut config = script("w", "true");
            config.devices = vec![device(wrong, "", "rwm")];
            assert_eq!(node.refused(&pod, config).await.kind(), Kind::Invalid, "{wrong}");
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn user_namespaces_own_their_files() {
    let stage = Stage::new("c-userns");
    let shared = node_dir(&stage, "shared");
    fs::write(shared.join("file"), "of the node\n").expect("file");
    let image = busybox(&json!({"Volumes": {"/new": {}}}));
    stage.make_network();
    stage.run(async {
        let (node, _) = stage.open_with(&[(BOX, &image)]).await;
        let ids = vec![IdMapping { host_id: 700_000, container_id: 0, length: 65_536 }];
        let config = crate::stage::with_spaces(crate::stage::pod("userns"), |spaces| {
            spaces.network = NamespaceMode::Pod.into();
            spaces.userns_options = Some(UserNamespace {
                mode: NamespaceMode::Pod.into(),
                uids: ids.clone(),
                gids: ids.clone(),
            });
        });
        let pod = node.pods.run(config, "").await.expect("pod");
        let mapped = Mount {
            uid_mappings: ids.clone(),
            gid_mappings: ids.clone(),
            ..mount(&shared, "/mapped")
        };
        let id = node.start(&pod, with(waiting("c"), vec![mapped, of_image("", "/whole")])).await;
        assert_eq!(
            node.sh(&id, "tr -s ' ' < /proc/self/uid_map | cut -d' ' -f2-4").await,
            "0 700000 65536"
        );
        let owners = "stat -c %u:%g /bin/busybox /new /mapped/file /whole/bin/busybox";
        assert_eq!(node.sh(&id, owners).await, ["0:0"; 4].join("\n"));
        node.sh(&id, "touch /x /mapped/made /new/x /dev/shm/x && echo x > /dev/null").await;
        let meta = fs::metadata(shared.join("made")).expect("made");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 0, "idmapped");
        let pid = node.containers.get(&id).expect("container").status().pid;
        let meta = fs::metadata(format!("/proc/{pid}")).expect("process");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 700_000);
        let app = secured(waiting("app"), |c| c.run_as_username = "app".to_owned());
        let app = node.start(&pod, app).await;
        assert_eq!(node.sh(&app, "id -u; id -G").await, "1000\n1001 50000");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn devices_are_injected_by_name() {
    let stage = Stage::new("c-cdi");
    let shared = node_dir(&stage, "shared");
    fs::write(shared.join("lib"), "library\n").expect("file");
    let dir = node_dir(&stage, "cdi");
    let yaml = format!(
        "cdiVersion: 0.6.0\nkind: vendor.com/gpu\ncontainerEdits:\n  env: [DRIVER=1]\ndevices:\n\
         - name: one\n  containerEdits:\n    env:\n    - GPU=one\n    deviceNodes:\n    \
         - path: /dev/gpu\n      hostPath: /dev/vcs\n    mounts:\n    - hostPath: {}\n      \
         containerPath: /lib\n",
        shared.display()
    );
    fs::write(dir.join("vendor.yaml"), yaml).expect("file");
    fs::write(dir.join("broken.json"), "{").expect("file");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("cdi").await;
        let named = |container: &str, device: &str| {
            let mut config = waiting(container);
            config.cdi_devices = vec![CdiDevice { name: device.to_owned() }];
            config
        };
        let id = node.start(&pod, named("c", "vendor.com/gpu=one")).await;
        let said =
            node.sh(&id, "echo $DRIVER $GPU; cat /lib/lib; head -c 1 /dev/gpu > /dev/null").await;
        assert_eq!(said, "1 one\nlibrary");
        let e = node.refused(&pod, named("none", "vendor.com/gpu=two")).await;
        assert_eq!(e.kind(), Kind::Invalid);
        assert!(e.to_string().contains("broken.json"), "{e}");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}
