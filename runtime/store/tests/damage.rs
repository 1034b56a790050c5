//! What happens to the database: killed, cut short, overwritten, out of space.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod desk;

use desk::{Desk, commit, image};
use std::fs;
use std::process::Command;
use store::{Digest, Store};

#[test]
fn a_damaged_database_is_set_aside_and_rebuilt() {
    let desk = Desk::new();
    let id = image(&desk.open(), "a:1", &[b"one", b"two"]);
    let file = desk.root().join("meta.redb");
    let sound = fs::read(&file).expect("database");
    let mut rounds = 0;
    for damage in damages(&sound) {
        fs::write(&file, &damage).expect("damage");
        let store = desk.open();
        assert_eq!(store.image(&id).expect("image").names[0].name, "a:1");
        assert_eq!(store.contents(&id).expect("contents").layers.len(), 2);
        assert_eq!(store.usage().expect("usage").blob_count, 4);
        assert!(store.check_blob(&Digest::sha256(b"two")).expect("check"));
        image(&store, "a:1", &[b"one", b"two"]);
        rounds += 1;
    }
    assert!(rounds > 10);
    assert!(desk.damaged() <= 2, "the disk fills with damaged databases");
}

/// The file as damage leaves it: short, empty, zeroed, noise, pages overwritten, lost.
fn damages(sound: &[u8]) -> Vec<Vec<u8>> {
    let mut damages = vec![
        Vec::new(),
        sound[..100].to_vec(),
        sound[..sound.len() / 2].to_vec(),
        vec![0; sound.len()],
        b"not a database".repeat(1000),
    ];
    // Pages, one after the other, read as noise; the end is not used yet.
    for page in 0..12 {
        let mut damage = sound.to_vec();
        let at = page * 4096;
        for byte in damage.iter_mut().skip(at).take(4096) {
            *byte ^= 0x5a;
        }
        damages.push(damage);
    }
    damages
}

#[test]
fn rows_that_make_no_sense_are_damage_too() {
    let desk = Desk::new();
    let id = image(&desk.open(), "a:1", &[b"one"]);
    {
        let database = redb::Database::create(desk.root().join("meta.redb")).expect("database");
        let txn = database.begin_write().expect("transaction");
        let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("images");
        txn.open_table(table).expect("table").insert(id.as_str(), &b"{"[..]).expect("row");
        txn.commit().expect("commit");
    }
    let store = desk.open();
    assert_eq!(store.images().expect("images").len(), 1);
    assert_eq!(store.image(&id).expect("image").id, id);
    assert_eq!(desk.damaged(), 1);
}

#[test]
fn an_image_of_which_content_is_lost_is_not_rebuilt() {
    let desk = Desk::new();
    let (kept, lost) = {
        let store = desk.open();
        (image(&store, "a:1", &[b"one"]), image(&store, "b:1", &[b"two"]))
    };
    fs::remove_file(desk.blob_path(&Digest::sha256(b"two"))).expect("lose");
    fs::write(desk.root().join("records/junk.json"), b"{").expect("junk");
    fs::write(desk.root().join("meta.redb"), b"x").expect("damage");
    let store = desk.open();
    let ids: Vec<_> = store.images().expect("images").into_iter().map(|image| image.id).collect();
    assert_eq!(ids, [kept]);
    assert!(store.image(&lost).is_err());
    assert!(store.name("b:1").expect("name").is_none());
}

/// A file system of `size` for the store, gone with the value.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(dir: &std::path::Path, size: &str) -> Option<Small> {
        fs::create_dir_all(dir).expect("directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "podloom-test"])
            .arg(dir)
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Small(dir.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_fails_one_change_and_breaks_nothing() {
    let desk = Desk::new();
    let Some(_small) = Small::mount(&desk.root(), "4m") else {
        return lab::skip("store on a full disk: tmpfs cannot be mounted here");
    };
    let store = desk.open();
    let id = image(&store, "a:1", &[b"one"]);
    let ballast = desk.root().join("ballast");
    let next = commit(&store, "b:1", &[b"two"]);
    let mut size = 4 << 20;
    while size >= 512 {
        // To the last byte, in pieces that fit.
        let file = fs::OpenOptions::new().create(true).append(true).open(&ballast);
        let wrote = std::io::Write::write_all(&mut file.expect("ballast"), &vec![1; size]);
        if wrote.is_err() {
            size /= 2;
        }
    }
    let error = store.commit(&next).expect_err("full");
    assert!(error.is_full(), "{error}");
    assert_eq!(store.images().expect("readable").len(), 1);
    assert!(store.image(&id).is_ok());
    fs::remove_file(&ballast).expect("room");
    store.commit(&next).expect("as if nothing had been");
    assert_eq!(store.images().expect("images").len(), 2);
}

/// Runs this program as the process that is killed.
fn child(desk: &Desk) -> std::process::Child {
    let program = std::env::current_exe().expect("program");
    Command::new(program)
        .args(["--exact", "killed_while_committing", "--nocapture"])
        .env("PODLOOM_TEST_STORE", desk.root())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("child")
}

#[test]
fn killed_while_committing() {
    if let Some(root) = std::env::var_os("PODLOOM_TEST_STORE") {
        let store = Store::open(root.as_ref(), "child").expect("store");
        for at in 0.. {
            let layer = format!("layer {at}").repeat(1000);
            image(&store, &format!("a:{at}"), &[layer.as_bytes()]);
        }
    }
    let desk = Desk::new();
    let mut most = 0;
    for round in 0..15 {
        let mut child = child(&desk);
        std::thread::sleep(std::time::Duration::from_millis(20 + 7 * round));
        child.kill().expect("kill");
        child.wait().expect("reap");
        let store = desk.open();
        let images = store.images().expect("images");
        for image in &images {
            let contents = store.contents(&image.id).expect("contents");
            for digest in contents.manifests.iter().flat_map(|m| &m.blobs) {
                assert!(store.check_blob(digest).expect("check"), "half an image: {image:?}");
            }
        }
        most = most.max(images.len());
    }
    assert!(most > 1, "the child never came to commit");
}
