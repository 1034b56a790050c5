//! Power cuts while images are pulled, removed and pulled again: afterwards an image is wholly
//! there or not there at all, what a finished pull had reported is there, and another pull repairs
//! the rest. `PODLOOM_CUTS` says how many cuts.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use content_digest::Digest;
use disk::{Cuts, Journal, Mounted, Recorder};
use image::{ImageService, Pull, Settings};
use images::{Image, Layer, Packing, Registry};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One cut takes about half a second.
const CUTS: usize = 60;
const SIZE: usize = 96 << 20;
const LIMIT: Duration = Duration::from_secs(60);

/// What a root directory holds, by path: everything that must be as it was built.
type Tree = BTreeMap<PathBuf, String>;

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    walk(root, Path::new(""), &mut found);
    found
}

fn walk(root: &Path, dir: &Path, found: &mut Tree) {
    for entry in fs::read_dir(root.join(dir)).expect("directory").flatten() {
        let (path, meta) = (dir.join(entry.file_name()), entry.metadata().expect("metadata"));
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            format!("-> {}", fs::read_link(entry.path()).expect("link").display())
        } else if kind.is_file() {
            Digest::sha256(&fs::read(entry.path()).expect("file")).to_string()
        } else if kind.is_char_device() {
            format!("device {}", meta.rdev())
        } else {
            format!("{kind:?}")
        };
        let (mode, uid, gid) = (meta.permissions().mode(), meta.uid(), meta.gid());
        found.insert(path.clone(), format!("{mode:o} {uid}:{gid} {} {content}", meta.mtime()));
        if kind.is_dir() {
            walk(root, &path, found);
        }
    }
}

/// The images: layers of small and of larger files, the first two shared by all.
fn gallery() -> Vec<Image> {
    let files = |prefix: &str, count: usize, size: usize| {
        (0..count).fold(Layer::new().dir(prefix, 0o755), |layer, n| {
            let body = format!("{prefix} {n} ").repeat(size / 10 + n);
            layer.file(&format!("{prefix}/file{n}"), body.as_bytes())
        })
    };
    let image = |own: &str| {
        Image::new(vec![
            (files("base", 120, 200), Packing::Gzip),
            (files("lib", 6, 60_000), Packing::Zstd),
            (files(own, 40, 2_000).whiteout("base/file3").symlink("link", "base"), Packing::Gzip),
            (files(own, 3, 90_000), Packing::Plain),
        ])
    };
    ["one", "two", "three"].into_iter().map(image).collect()
}

struct World {
    registry: Registry,
    names: Vec<String>,
    /// What each image's root directory must hold.
    wanted: Vec<Tree>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Option<World> {
        let Some(registry) = Registry::start() else {
            lab::skip("power cuts: docker-registry and htpasswd are not installed");
            return None;
        };
        let names =
            ["one", "two", "three"].map(|tag| format!("{}/cut:{tag}", registry.plain_host()));
        for (image, name) in gallery().iter().zip(&names) {
            registry.push("cut", name.rsplit(':').next().expect("tag"), image);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("runtime");
        let mut world = World { registry, names: names.to_vec(), wanted: Vec::new(), runtime };
        let plain = images::Scratch::new("power-plain");
        let service = open(plain.dir());
        for name in &world.names {
            world.pull(&service, name);
            world.wanted.push(world.contents(&service, name, plain.dir()));
        }
        assert!(world.wanted[0].len() > 150 && world.wanted[0] != world.wanted[1]);
        Some(world)
    }

    fn pull(&self, service: &ImageService, name: &str) {
        let _registry = &self.registry;
        let pull = Pull::new(name).expect("reference");
        let pulled = async { tokio::time::timeout(LIMIT, service.pull(pull)).await };
        self.runtime.block_on(pulled).expect("in time").expect(name);
    }

    /// The root directory of an image, as a container would see it.
    fn contents(&self, service: &ImageService, name: &str, disk: &Path) -> Tree {
        let layers = service.inspect(name).expect("inspect").layers;
        let view = snapshot::Name::new("view").expect("name");
        let parent = layers.last().map(|key| snapshot::Name::new(key).expect("name"));
        let spec = snapshot::Spec {
            name: view.clone(),
            parent,
            kind: snapshot::SnapshotKind::View,
            labels: BTreeMap::new(),
            ids: None,
        };
        let snapshots = service.layers();
        snapshots.prepare(&spec).expect("view");
        let target = disk.join("target");
        fs::create_dir_all(&target).expect("target");
        snapshots.mount(&view).expect("mount").attach(None, &target).expect("attach");
        let found = tree(&target);
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH).expect("unmount");
        snapshots.remove(&view).expect("remove");
        found
    }
}

fn open(root: &Path) -> ImageService {
    ImageService::open(Settings::below(root)).expect("open")
}

/// What happens on the disk: every image is pulled, one is removed, and pulled again.
fn record(world: &World) -> Journal {
    let recorder = Recorder::new(SIZE);
    recorder.format();
    let mounted = Mounted::new(&recorder.path());
    recorder.mark("begin");
    let service = open(mounted.path());
    for (number, name) in world.names.iter().enumerate() {
        world.pull(&service, name);
        recorder.mark(&format!("pulled {number}"));
    }
    recorder.mark("removing 1");
    world.runtime.block_on(service.remove(&world.names[1], false)).expect("remove");
    world.runtime.block_on(service.prune(false)).expect("prune");
    world.pull(&service, &world.names[1]);
    recorder.mark("pulled 1 again");
    drop(service);
    drop(mounted);
    recorder.finish()
}

/// Images that must be there after a cut at `at`: their pull had ended.
fn reported(journal: &Journal, at: usize) -> Vec<bool> {
    let passed = |label: &str| journal.mark(label) < at;
    let lost = passed("removing 1") && !passed("pulled 1 again");
    (0..3).map(|n| passed(&format!("pulled {n}")) && !(n == 1 && lost)).collect()
}

#[test]
fn an_image_is_wholly_there_or_not_at_all() {
    disk::alone();
    let Some(world) = World::new() else { return };
    let journal = record(&world);
    let count = std::env::var("PODLOOM_CUTS").ok().and_then(|text| text.parse().ok());
    let mut cuts = Cuts::new(&journal, 11);
    let (mut there, mut missing) = (0, 0);
    for at in journal.points("begin", count.unwrap_or(CUTS), 11) {
        let mounted = Mounted::new(&cuts.cut(at));
        let service = open(mounted.path());
        for (number, must) in reported(&journal, at).into_iter().enumerate() {
            let (name, wanted) = (&world.names[number], &world.wanted[number]);
            let is_there = service.get(name).expect("ask").is_some();
            assert!(is_there || !must, "cut at {at}: {name} was pulled, and is gone");
            if is_there {
                let found = world.contents(&service, name, mounted.path());
                assert!(found == *wanted, "cut at {at}: {name} is broken");
                there += 1;
            } else {
                missing += 1;
            }
            world.pull(&service, name);
            let found = world.contents(&service, name, mounted.path());
            assert!(found == *wanted, "cut at {at}: {name} is broken after another pull");
        }
        world.runtime.block_on(service.prune(false)).expect("prune");
        for (name, wanted) in world.names.iter().zip(&world.wanted) {
            let found = world.contents(&service, name, mounted.path());
            assert!(found == *wanted, "cut at {at}: {name} is broken after prune");
        }
    }
    assert!(there > 0 && missing > 0, "cuts at one side only: {there} there, {missing} missing");
}
