//! What every backend must do; run by one test program for each.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's library fails the test")]

use layer::{Expect, Options, PackOptions};
use snapshot::{Backend, Begin, Ids, Kind, Name, SnapshotKind, Snapshots, Snapshotter, Spec};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) const WAIT: Duration = Duration::from_secs(10);

/// A directory that goes with its end.
pub(crate) struct Scratch(pub(crate) PathBuf);

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("podloom-snapshot-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    pub(crate) fn open<B: Backend>(&self) -> Snapshots<B> {
        Snapshots::open(&self.root(), Duration::ZERO).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let parent = fs::File::open(self.0.parent().unwrap()).unwrap();
        layer::remove_tree(parent.as_fd(), self.0.file_name().unwrap().as_encoded_bytes()).unwrap();
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A layer with what `fill` makes in a directory.
pub(crate) fn tar(fill: impl FnOnce(&Path)) -> Vec<u8> {
    let scratch = Scratch::new();
    fill(&scratch.0);
    let mut out = Vec::new();
    let dir = fs::File::open(&scratch.0).unwrap();
    let options = PackOptions { compression: layer::Compression::None, ..PackOptions::default() };
    layer::pack(dir.as_fd(), &mut out, &options).unwrap();
    out
}

/// Empty files of these names, which may be whiteouts, without their directories.
pub(crate) fn bare(names: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names {
        let mut head = [0; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..148]
            .copy_from_slice(b"0000644\x000000000\x000000000\x0000000000000\x0000000000000\0");
        head[148..156].fill(b' ');
        head[156] = b'0';
        head[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = head.iter().map(|b| u32::from(*b)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(head);
    }
    out.extend([0; 1024]);
    out
}

pub(crate) fn add(store: &dyn Snapshotter, own: &str, parent: Option<&str>, tar: &[u8]) {
    let Begin::Unpack(pending) = store.begin(&name(own), WAIT).unwrap() else {
        panic!("{own} is there already")
    };
    let report = pending.unpack(tar, &Expect::default(), &Options::default()).unwrap();
    store.commit(vec![pending.on(parent.map(name), report)]).unwrap();
}

pub(crate) fn spec(own: &str, parent: Option<&str>, kind: SnapshotKind) -> Spec {
    let labels = [("for".to_owned(), "test".to_owned())].into();
    Spec { name: name(own), parent: parent.map(name), kind, labels, ids: None }
}

/// A snapshot as it is mounted, reached by the descriptor of its root.
pub(crate) struct Seen(pub(crate) OwnedFd);

impl Seen {
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{path}", self.0.as_raw_fd()))
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(crate) fn see(store: &dyn Snapshotter, own: &str) -> Seen {
    Seen(store.mount(&name(own)).unwrap().open(None).unwrap())
}

pub(crate) fn two_layers(store: &dyn Snapshotter) {
    let base = tar(|dir| {
        fs::create_dir_all(dir.join("etc/old")).unwrap();
        fs::write(dir.join("etc/old/a"), "a").unwrap();
        fs::write(dir.join("etc/gone"), "gone").unwrap();
        fs::write(dir.join("etc/kept"), "kept").unwrap();
        fs::hard_link(dir.join("etc/kept"), dir.join("etc/kept2")).unwrap();
        symlink("kept", dir.join("etc/link")).unwrap();
        fs::create_dir(dir.join("private")).unwrap();
        let private: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o1700);
        fs::set_permissions(dir.join("private"), private).unwrap();
        std::os::unix::fs::chown(dir.join("private"), Some(5), Some(6)).unwrap();
    });
    add(store, "base", None, &base);
    let names = ["etc/.wh.gone", "etc/old/.wh..wh..opq", "etc/old/b", "private/new"];
    add(store, "top", Some("base"), &bare(&names));
}

/// Layers over each other, and what a container writes.
pub(crate) fn chain<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    two_layers(&store);
    store.prepare(&spec("c", Some("top"), SnapshotKind::Active)).unwrap();
    let seen = see(&store, "c");
    assert_eq!(seen.names("etc"), ["kept", "kept2", "link", "old"]);
    assert_eq!(seen.names("etc/old"), ["b"], "the directory is opaque");
    assert_eq!(fs::read_to_string(seen.at("etc/link")).unwrap(), "kept");
    let kept = fs::metadata(seen.at("etc/kept")).unwrap();
    assert_eq!(kept.nlink(), 2);
    let private = fs::metadata(seen.at("private")).unwrap();
    let what = (private.mode() & 0o7777, private.uid(), private.gid());
    assert_eq!(what, (0o1700, 5, 6), "a layer that does not describe a directory keeps it");
    fs::write(seen.at("etc/kept"), "changed").unwrap();
    fs::remove_file(seen.at("etc/old/b")).unwrap();
    store.prepare(&spec("d", Some("top"), SnapshotKind::Active)).unwrap();
    let other = see(&store, "d");
    assert_eq!(fs::read_to_string(other.at("etc/kept")).unwrap(), "kept");
    assert_eq!(other.names("etc/old"), ["b"]);
    assert!(store.usage(&name("c")).unwrap().inodes >= 2);
    let listed: Vec<_> = store.list().iter().map(|info| info.name.to_string()).collect();
    assert_eq!(listed, ["base", "c", "d", "top"]);
}

/// Views show everything and take nothing.
pub(crate) fn view<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    two_layers(&store);
    for parent in ["base", "top"] {
        let own = format!("view-{parent}");
        store.prepare(&spec(&own, Some(parent), SnapshotKind::View)).unwrap();
        let seen = see(&store, &own);
        assert_eq!(fs::read_to_string(seen.at("etc/kept")).unwrap(), "kept");
        let error = fs::write(seen.at("etc/new"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
}

/// A layer that hides everything beneath.
pub(crate) fn opaque_root<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    two_layers(&store);
    add(&store, "fresh", Some("top"), &bare(&[".wh..wh..opq", "only"]));
    store.prepare(&spec("c", Some("fresh"), SnapshotKind::View)).unwrap();
    let names = see(&store, "c").names(".");
    let plain: Vec<_> = names.iter().filter(|n| !n.starts_with(".wh.")).collect();
    assert_eq!(plain, ["only"]);
    assert_eq!(plain.len(), names.len(), "marks show: {names:?}");
}

/// Names that are taken, missing or in use.
pub(crate) fn rules<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    two_layers(&store);
    let kind = |result: Result<_, snapshot::Error>| result.err().map(|e| e.kind());
    assert!(matches!(store.begin(&name("top"), WAIT).unwrap(), Begin::Have(_)));
    assert_eq!(kind(store.remove(&name("base"))), Some(Kind::InUse));
    let orphan = spec("c", Some("nothing"), SnapshotKind::Active);
    assert_eq!(kind(store.prepare(&orphan).map(drop)), Some(Kind::NotFound));
    let active = spec("c", Some("top"), SnapshotKind::Active);
    store.prepare(&active).unwrap();
    assert_eq!(kind(store.prepare(&active).map(drop)), Some(Kind::Exists));
    let upon = spec("d", Some("c"), SnapshotKind::Active);
    assert_eq!(kind(store.prepare(&upon).map(drop)), Some(Kind::Invalid));
    assert_eq!(kind(store.mount(&name("top")).map(drop)), Some(Kind::Invalid));
    assert_eq!(kind(store.stat(&name("x")).map(drop)), Some(Kind::NotFound));
    for own in ["c", "top", "base", "base"] {
        store.remove(&name(own)).unwrap();
    }
    assert!(store.list().is_empty());
    let trash = scratch.root().join("trash");
    lab::until("an empty trash", WAIT, || fs::read_dir(&trash).unwrap().count() == 0);
    assert!(Name::new("a b").is_err() && Name::new("").is_err());
}

/// What is there after the process ended, at every step of a commit.
pub(crate) fn crash<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    two_layers(&store);
    let before = store.list();
    let locked = Snapshots::<B>::open(&scratch.root(), Duration::ZERO).unwrap_err();
    assert_eq!(locked.kind(), Kind::Locked, "one process at a time");
    let Begin::Unpack(pending) = store.begin(&name("half"), WAIT).unwrap() else { panic!() };
    pending.unpack(&bare(&["x"])[..], &Expect::default(), &Options::default()).unwrap();
    assert_eq!(store.cleanup().unwrap_err().kind(), Kind::InUse);
    // A killed process runs no destructors: its directories stay.
    let stays = scratch.root().join("new/900");
    fs::create_dir_all(stays.join("fs/deep")).unwrap();
    fs::create_dir_all(scratch.root().join("trash/901/fs")).unwrap();
    fs::create_dir_all(scratch.root().join("snapshots/902/fs")).unwrap();
    fs::write(scratch.root().join("snapshots/902/record.json"), "").unwrap();
    drop((pending, store));
    let store = scratch.open::<B>();
    assert_eq!(store.list(), before);
    let cleaned = store.cleanup().unwrap();
    let all = "opening takes the abandoned one and the trash away";
    assert_eq!((cleaned.removed, cleaned.broken), (0, vec![902]), "{all}");
    assert!(!scratch.root().join("trash/901").exists());
    assert_eq!(store.list(), before);
    assert!(!stays.exists() && !scratch.root().join("snapshots/902").exists());
    // A lost base takes with it what is built on it.
    drop(store);
    let base = before.iter().position(|info| info.name == name("base")).unwrap();
    fs::write(scratch.root().join(format!("snapshots/{}/record.json", base + 2)), "{").unwrap();
    let store = scratch.open::<B>();
    assert!(store.list().len() < before.len());
}

/// Two who want the same layer unpack it once; a failed one gives the next its turn.
pub(crate) fn turns<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for at in 0..8 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                if let Begin::Unpack(pending) = store.begin(&name("same"), WAIT).unwrap() {
                    let broken =
                        pending.unpack(&[1; 600][..], &Expect::default(), &Options::default());
                    assert!(matches!(broken.unwrap_err().kind(), Kind::Layer(_)));
                    drop(pending);
                }
                if let Begin::Unpack(pending) = store.begin(&name("same"), WAIT).unwrap() {
                    let tar = bare(&[format!("by-{at}").as_str()]);
                    let report =
                        pending.unpack(&tar[..], &Expect::default(), &Options::default()).unwrap();
                    store.commit(vec![pending.on(None, report)]).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), 1);
    let Begin::Unpack(held) = store.begin(&name("held"), WAIT).unwrap() else { panic!() };
    let error = store.begin(&name("held"), Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind(), Kind::InUse);
    drop(held);
    assert_eq!(fs::read_dir(scratch.root().join("new")).unwrap().count(), 0);
}

/// Layers of one image that were unpacked at once, in one commit.
pub(crate) fn one_commit<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    let mut ready = Vec::new();
    for at in 0..4 {
        let own = format!("l{at}");
        let Begin::Unpack(pending) = store.begin(&name(&own), WAIT).unwrap() else { panic!() };
        let tar = bare(&[own.as_str()]);
        let report = pending.unpack(&tar[..], &Expect::default(), &Options::default()).unwrap();
        ready.push(pending.on((at > 0).then(|| name(&format!("l{}", at - 1))), report));
    }
    store.commit(ready).unwrap();
    store.prepare(&spec("v", Some("l3"), SnapshotKind::View)).unwrap();
    assert_eq!(see(&store, "v").names("."), ["l0", "l1", "l2", "l3"]);
}

/// A thousand snapshots: listed and their usage known without a walk.
pub(crate) fn thousand<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    add(&store, "base", None, &bare(&["a"]));
    let mut ready = Vec::new();
    for at in 0..999 {
        let own = format!("n{at}");
        let Begin::Unpack(pending) = store.begin(&name(&own), WAIT).unwrap() else { panic!() };
        let report =
            pending.unpack(&bare(&["b"])[..], &Expect::default(), &Options::default()).unwrap();
        ready.push(pending.on(Some(name("base")), report));
    }
    store.commit(ready).unwrap();
    drop(store);
    let store = scratch.open::<B>();
    let best = (0..5).map(|_| {
        let start = std::time::Instant::now();
        let all = store.list();
        let inodes: u64 = all.iter().map(|info| store.usage(&info.name).unwrap().inodes).sum();
        assert_eq!((all.len(), inodes), (1000, 2000));
        start.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(5), "{best:?}");
}

/// A part of a view.
pub(crate) fn sub_paths<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    let layer = tar(|dir| {
        fs::create_dir_all(dir.join("data/in")).unwrap();
        fs::write(dir.join("data/in/file"), "inside").unwrap();
        symlink("/etc", dir.join("out")).unwrap();
        symlink("../../../../../../etc", dir.join("up")).unwrap();
        symlink("data/in", dir.join("fine")).unwrap();
    });
    add(&store, "base", None, &layer);
    store.prepare(&spec("v", Some("base"), SnapshotKind::View)).unwrap();
    let seen = see(&store, "v");
    for path in ["data/in", "fine", "/data/in", "data/../data/in"] {
        let part = match snapshot::sub_path_mount(seen.0.as_fd(), path) {
            Err(e) if e.kind() == Kind::Unsupported => {
                lab::skip("parts of a mount that is attached nowhere: need Linux 6.15");
                continue;
            }
            part => Seen(part.unwrap()),
        };
        assert_eq!(fs::read_to_string(part.at("file")).unwrap(), "inside", "{path}");
        let error = fs::write(part.at("new"), "").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
    for (path, want) in [
        ("out/passwd", Kind::NotFound),
        ("up/passwd", Kind::NotFound),
        ("none", Kind::NotFound),
        ("../x", Kind::Invalid),
        ("data/../../etc", Kind::Invalid),
    ] {
        let error = snapshot::sub_path(seen.0.as_fd(), path).unwrap_err();
        assert_eq!(error.kind(), want, "{path}: {error}");
    }
}

/// Files of a user namespace: `0` of the layer is `100000` of the machine.
pub(crate) fn ids<B: Backend>() {
    let scratch = Scratch::new();
    let store = scratch.open::<B>();
    two_layers(&store);
    store.prepare(&with_ids("c")).unwrap();
    let userns = UserNs::new();
    let mount = store.mount(&name("c")).unwrap();
    shifted(Seen(mount.open(Some(userns.fd.as_fd())).unwrap()));
    store.remove(&name("c")).unwrap();
}

/// What the root of that user namespace sees of its own.
pub(crate) fn shifted(seen: Seen) {
    let owner = |path: &str| fs::metadata(seen.at(path)).map(|stat| (stat.uid(), stat.gid()));
    assert_eq!(owner(".").unwrap(), (100_000, 100_000));
    assert_eq!(owner("etc/kept").unwrap(), (100_000, 100_000));
    assert_eq!(owner("private").unwrap(), (100_005, 100_006));
    // Copied up: still the container's.
    fs::write(seen.at("etc/kept"), "changed").unwrap();
    assert_eq!(owner("etc/kept").unwrap(), (100_000, 100_000));
}

/// A snapshot of the two layers for that user namespace.
pub(crate) fn with_ids(own: &str) -> Spec {
    let range = layer::IdRange { container: 0, host: 100_000, size: 65_536 };
    let ids = Ids { uids: vec![range], gids: vec![range] };
    Spec { ids: Some(ids), ..spec(own, Some("top"), SnapshotKind::Active) }
}

pub(crate) struct UserNs {
    pub(crate) fd: fs::File,
    child: std::process::Child,
}

impl UserNs {
    pub(crate) fn new() -> UserNs {
        let mut unshare = std::process::Command::new("unshare");
        let child = unshare.args(["--user", "sleep", "60"]).spawn().unwrap();
        let path = format!("/proc/{}/ns/user", child.id());
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        lab::until("a user namespace", WAIT, || fs::read_link(&path).is_ok_and(|ns| ns != own));
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", child.id()), "0 100000 65536\n").unwrap();
        }
        UserNs { fd: fs::File::open(path).unwrap(), child }
    }
}

impl Drop for UserNs {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
