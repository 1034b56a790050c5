//! The suite over the overlay backend.

mod suite;

use snapshot::Overlay;
use std::os::fd::AsFd;

#[test]
fn chain() {
    suite::chain::<Overlay>();
}

#[test]
fn view() {
    suite::view::<Overlay>();
}

#[test]
fn opaque_root() {
    suite::opaque_root::<Overlay>();
}

#[test]
fn rules() {
    suite::rules::<Overlay>();
}

#[test]
fn crash() {
    suite::crash::<Overlay>();
}

#[test]
fn turns() {
    suite::turns::<Overlay>();
}

#[test]
fn one_commit() {
    suite::one_commit::<Overlay>();
}

#[test]
fn thousand() {
    suite::thousand::<Overlay>();
}

#[test]
fn sub_paths() {
    suite::sub_paths::<Overlay>();
}

#[test]
fn ids() {
    suite::ids::<Overlay>();
}

/// As kernels before 6.13 need it; here it works as well.
#[test]
fn ids_by_paths() {
    let scratch = suite::Scratch::new();
    private(|| {
        let store = scratch.open::<Overlay>();
        suite::two_layers(&store);
        snapshot::Snapshotter::prepare(&store, &suite::with_ids("c")).unwrap();
        let mount = snapshot::Snapshotter::mount(&store, &suite::name("c")).unwrap();
        let snapshot::Mount::Overlay(layers) = mount else { panic!("an overlay") };
        let userns = suite::UserNs::new();
        suite::shifted(suite::Seen(layers.open_by_paths(userns.fd.as_fd()).unwrap()));
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let own = scratch.0.to_string_lossy();
        assert!(!mounts.contains(&*own), "mounts are left: {mounts}");
        let unplaced = snapshot::Layers { place: None, ..layers };
        let error = unplaced.open_by_paths(userns.fd.as_fd()).unwrap_err();
        assert_eq!(error.kind(), snapshot::Kind::Unsupported, "{error}");
    });
}

#[test]
fn two_hundred_layers() {
    let scratch = suite::Scratch::new();
    let store = scratch.open::<Overlay>();
    let mut ready = Vec::new();
    for at in 0..200 {
        let own = format!("layer-{at}");
        let begun = snapshot::Snapshotter::begin(&store, &suite::name(&own), suite::WAIT);
        let snapshot::Begin::Unpack(pending) = begun.unwrap() else { panic!() };
        let tar = suite::bare(&[own.as_str(), "same"]);
        let report =
            pending.unpack(&tar[..], &layer::Expect::default(), &layer::Options::default());
        let parent = (at > 0).then(|| suite::name(&format!("layer-{}", at - 1)));
        ready.push(pending.on(parent, report.unwrap()));
    }
    snapshot::Snapshotter::commit(&store, ready).unwrap();
    let spec = suite::spec("c", Some("layer-199"), snapshot::SnapshotKind::Active);
    snapshot::Snapshotter::prepare(&store, &spec).unwrap();
    assert_eq!(suite::see(&store, "c").names(".").len(), 201);
}

/// Runs `f` on a thread with mounts of its own, which end with it.
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#[allow(deprecated, reason = "only the mounts are taken apart, no descriptors")]
fn private(f: impl FnOnce() + Send) {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare};
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            unshare(UnshareFlags::NEWNS).unwrap();
            let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", flags).unwrap();
            f();
        });
        run.join().unwrap();
    });
}

#[test]
fn overlay_upon_overlay_is_refused_and_mounts_are_taken_off() {
    let scratch = suite::Scratch::new();
    private(|| {
        let store = scratch.open::<Overlay>();
        suite::add(&store, "base", None, &suite::bare(&["a"]));
        let spec = suite::spec("c", Some("base"), snapshot::SnapshotKind::Active);
        snapshot::Snapshotter::prepare(&store, &spec).unwrap();
        let target = scratch.0.join("target");
        std::fs::create_dir(&target).unwrap();
        let mount = snapshot::Snapshotter::mount(&store, &suite::name("c")).unwrap();
        mount.attach(None, &target).unwrap();
        assert!(target.join("a").exists());
        let within = target.join("root");
        let error =
            snapshot::Snapshots::<Overlay>::open(&within, std::time::Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), snapshot::Kind::Unsupported, "{error}");
        // What was left mounted upon a snapshot does not keep it.
        let id = std::fs::read_dir(scratch.root().join("snapshots")).unwrap().count();
        let fs = scratch.root().join(format!("snapshots/{}/fs", id + 1));
        assert!(fs.is_dir());
        mount.attach(None, &fs).unwrap();
        snapshot::Snapshotter::remove(&store, &suite::name("c")).unwrap();
        assert!(!fs.exists());
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}
