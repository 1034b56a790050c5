//! Kept filters: used when whole, refused when another could have written them.
#![allow(clippy::expect_used, reason = "tests may panic")]

use runtime_spec::Seccomp;
use seccomp::{Cache, Warning};
use sha2::{Digest, Sha256};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

/// A folder of this test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podloom-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new folder");
        Folder(path)
    }

    fn cache(&self) -> PathBuf {
        self.0.join("seccomp")
    }

    fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.cache())
            .expect("list")
            .map(|entry| entry.expect("entry").path())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("remove");
    }
}

fn profile() -> Seccomp {
    serde_json::from_str(include_str!("../testdata/default.json")).expect("a profile")
}

/// A profile of its own for each number.
fn numbered(number: u32) -> Seccomp {
    Seccomp { default_errno_ret: Some(number + 1), ..profile() }
}

fn troubles(program: &seccomp::Program) -> Vec<String> {
    let cache = program.warnings().iter().filter(|w| matches!(w, Warning::Cache { .. }));
    cache.map(ToString::to_string).collect()
}

#[test]
fn the_second_time_comes_from_the_folder() {
    let folder = Folder::new("cache-second");
    let cache = Cache::at(folder.cache());
    let mut wanted = profile();
    wanted.syscalls[0].names.push("fly".to_owned());
    let fresh = cache.program(&wanted).expect("compiled");
    assert_eq!(fresh, seccomp::compile(&wanted).expect("compiled"));
    assert_eq!(fs::metadata(folder.cache()).expect("made").permissions().mode() & 0o7777, 0o700);
    let [file] = &folder.files()[..] else { panic!("want one file: {:?}", folder.files()) };
    let before = fs::metadata(file).expect("kept").modified().expect("time");
    assert_eq!(fs::metadata(file).expect("kept").permissions().mode() & 0o7777, 0o600);
    assert_eq!(cache.program(&wanted).expect("kept"), fresh);
    assert_eq!(fs::metadata(file).expect("kept").modified().expect("time"), before);
    // What is in the file is what is used: an instruction is made another, and the sum with it.
    let mut bytes = fs::read(file).expect("kept");
    let second_constant = 8 + 32 + 32 + 12 + 8 + 4;
    bytes[second_constant] ^= 1;
    let sum: [u8; 32] = Sha256::digest(&bytes[40..]).into();
    bytes[8..40].copy_from_slice(&sum);
    fs::write(file, bytes).expect("change");
    let changed = cache.program(&wanted).expect("kept");
    assert_eq!(changed.insns()[1].k ^ 1, fresh.insns()[1].k);
    assert_eq!(changed.insns()[2..], fresh.insns()[2..]);
}

#[test]
fn the_listener_comes_from_the_profile() {
    let folder = Folder::new("cache-listener");
    let cache = Cache::at(folder.cache());
    let with = |path: &str| {
        let mut wanted = profile();
        wanted.listener_path = Some(path.into());
        wanted.syscalls[2].action = runtime_spec::SeccompAction::Notify;
        cache.program(&wanted).expect("compiled")
    };
    with("/run/one");
    let second = with("/run/two");
    assert_eq!(folder.files().len(), 1);
    assert!(second.listens());
    assert_eq!(second.listener().expect("a listener").path.to_str(), Some("/run/two"));
}

#[test]
fn damaged_files_are_replaced() {
    let folder = Folder::new("cache-damaged");
    let cache = Cache::at(folder.cache());
    let fresh = cache.program(&profile()).expect("compiled");
    let file = folder.files().remove(0);
    let whole = fs::read(&file).expect("kept");
    cache.program(&numbered(1)).expect("compiled");
    let foreign = folder.files().into_iter().find(|path| *path != file).expect("another");
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut longer = whole.clone();
    longer.extend([0; 8]);
    let damages = [
        Vec::new(),
        whole[..50].to_vec(),
        whole[..whole.len() - 8].to_vec(),
        longer,
        vec![0; 1 << 20],
        flip(0),
        flip(20),
        flip(50),
        flip(whole.len() - 1),
        fs::read(&foreign).expect("another"),
    ];
    for (number, damage) in damages.iter().enumerate() {
        fs::write(&file, damage).expect("damage");
        let again = cache.program(&profile()).expect("compiled");
        assert_eq!(again.insns(), fresh.insns(), "damage {number}");
        assert_eq!(troubles(&again).len(), 1, "damage {number}: {:?}", again.warnings());
        assert_eq!(fs::read(&file).expect("replaced"), whole, "damage {number}");
        assert_eq!(cache.program(&profile()).expect("kept"), fresh, "damage {number}");
    }
}

#[test]
fn what_another_user_could_write_is_not_used() {
    let folder = Folder::new("cache-owner");
    let cache = Cache::at(folder.cache());
    let fresh = cache.program(&profile()).expect("compiled");
    let file = folder.files().remove(0);
    let told = |what: &str| {
        let again = cache.program(&profile()).expect("compiled");
        assert_eq!(again.insns(), fresh.insns(), "{what}");
        let troubles = troubles(&again);
        assert!(troubles.iter().any(|trouble| trouble.contains(what)), "{what}: {troubles:?}");
    };
    fs::set_permissions(&file, Permissions::from_mode(0o622)).expect("mode");
    told("another user could write it");
    chown(&file, Some(1), None).expect("owner");
    told("another user could write it");
    let elsewhere = folder.0.join("elsewhere");
    fs::rename(&file, &elsewhere).expect("move");
    symlink(&elsewhere, &file).expect("link");
    told("a symbolic link");
    fs::remove_file(&file).expect("remove");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("fifo");
    told("not a regular file");
    assert_eq!(cache.program(&profile()).expect("kept"), fresh, "replaced at last");

    fs::set_permissions(folder.cache(), Permissions::from_mode(0o770)).expect("mode");
    told("mode 0700");
    fs::set_permissions(folder.cache(), Permissions::from_mode(0o700)).expect("mode");
    chown(folder.cache(), Some(1), None).expect("owner");
    told("another user");
    let moved = folder.0.join("moved");
    fs::rename(folder.cache(), &moved).expect("move");
    symlink(&moved, folder.cache()).expect("link");
    told("open");
    fs::remove_file(folder.cache()).expect("remove");
    fs::write(folder.cache(), "").expect("a file in the way");
    told("open");
}

#[test]
fn the_folder_does_not_grow_without_end() {
    let folder = Folder::new("cache-bound");
    let cache = Cache::at(folder.cache());
    cache.program(&profile()).expect("compiled");
    let oldest = folder.files().remove(0);
    fs::write(folder.cache().join(".new-1-1"), "left by a killed writer").expect("leave");
    for number in 0..80 {
        let program = cache.program(&numbered(number)).expect("compiled");
        assert_eq!(program.warnings(), []);
    }
    assert_eq!(folder.files().len(), 64);
    assert!(!oldest.exists());
    assert!(folder.files().iter().all(|path| !path.to_string_lossy().contains(".new-")));
}

#[test]
fn writers_at_once_do_not_disturb_each_other() {
    let folder = Folder::new("cache-race");
    let wanted = seccomp::compile(&profile()).expect("compiled");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let cache = Cache::at(folder.cache());
                    assert_eq!(cache.program(&profile()).expect("compiled"), wanted);
                }
            });
        }
    });
    assert_eq!(folder.files().len(), 1);
}

#[test]
fn a_missing_parent_is_told() {
    let cache = Cache::at("/nonexistent/podloom/seccomp");
    let program = cache.program(&profile()).expect("compiled");
    assert_eq!(troubles(&program).len(), 1);
}
