//! Content on its way in and out: resumed, verified, damaged, exact in its usage.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod desk;

use desk::{Desk, Nowhere, image};
use std::io::Read;
use store::{Algorithm, Digest, Error, Store, Strays};

#[test]
fn a_download_goes_on_where_it_ended_also_in_another_process() {
    let desk = Desk::new();
    let content = vec![7_u8; 1_000_000];
    let digest = Digest::sha256(&content);
    {
        let store = desk.open();
        let mut ingest = store.ingest(&digest, Some(1_000_000)).expect("ingest");
        ingest.write(&content[..400_000]).expect("write");
        assert!(matches!(store.ingest(&digest, None), Err(Error::Busy { .. })));
    }
    let store = desk.open();
    let mut ingest = store.ingest(&digest, Some(1_000_000)).expect("ingest");
    assert_eq!(ingest.offset(), 400_000);
    let mut seen = vec![0; 500_000];
    assert_eq!(ingest.read_back(&mut seen).expect("read"), 400_000);
    assert_eq!(seen[..400_000], content[..400_000]);
    assert_eq!(ingest.read_back(&mut seen).expect("read"), 0);
    ingest.write(&content[400_000..]).expect("write");
    assert_eq!(ingest.finish().expect("finish"), digest);
    assert_eq!(store.read_blob(&digest, 1 << 20).expect("blob"), content);
    assert_eq!(desk.files("ingest"), 0);
}

#[test]
fn a_whole_blob_of_a_killed_pull_is_adopted_after_it_was_hashed() {
    let desk = Desk::new();
    let digest = desk.open().add_blob(b"whole, but never committed").expect("blob");
    let store = desk.open();
    assert!(!store.check_blob(&digest).expect("check"), "believed for its name");
    let ingest = store.ingest(&digest, Some(26)).expect("ingest");
    assert_eq!(ingest.offset(), 26);
    ingest.finish().expect("finish");
    assert!(store.check_blob(&digest).expect("check"));
    // The same, emptied by a power cut.
    drop(store);
    std::fs::write(desk.blob_path(&digest), b"").expect("cut");
    let store = desk.open();
    let ingest = store.ingest(&digest, Some(26)).expect("ingest");
    assert_eq!(ingest.offset(), 0);
}

#[test]
fn wrong_content_is_refused_and_gone() {
    let desk = Desk::new();
    let store = desk.open();
    let digest = Digest::sha256(b"right");
    let mut ingest = store.ingest(&digest, Some(5)).expect("ingest");
    ingest.write(b"wrong").expect("write");
    assert!(matches!(ingest.finish(), Err(Error::Mismatch { .. })));
    assert_eq!(desk.files("ingest") + desk.files("trash") + desk.files("blobs"), 0);
    let mut ingest = store.ingest(&digest, Some(5)).expect("ingest");
    assert!(matches!(ingest.write(b"righter"), Err(Error::Size { .. })));
    ingest.write(b"rig").expect("write");
    assert!(matches!(ingest.finish(), Err(Error::Size { found: 3, .. })));
    let mut ingest = store.ingest(&digest, Some(5)).expect("ingest");
    assert_eq!(ingest.offset(), 3, "a short download may go on");
    ingest.restart().expect("restart");
    ingest.write(b"right").expect("write");
    ingest.finish().expect("finish");
}

#[test]
fn sha512_names_content_too() {
    let desk = Desk::new();
    let store = desk.open();
    let mut hasher = Algorithm::Sha512.hasher();
    hasher.update(b"long");
    let digest = hasher.finish();
    let mut ingest = store.ingest(&digest, None).expect("ingest");
    ingest.write(b"long").expect("write");
    ingest.finish().expect("finish");
    assert_eq!(store.read_blob(&digest, 10).expect("read"), b"long");
}

#[test]
fn damaged_content_is_dropped_on_first_use() {
    let desk = Desk::new();
    let layer: &[u8] = b"a layer of the image";
    let digest = Digest::sha256(layer);
    {
        let store = desk.open();
        image(&store, "a:1", &[layer]);
    }
    // Same length, other bytes: read at once, it is noticed even in the same boot.
    std::fs::write(desk.blob_path(&digest), b"a player of the imag").expect("damage");
    let store = desk.open();
    assert!(matches!(store.read_blob(&digest, 100), Err(Error::Damaged { .. })));
    assert!(matches!(store.open_blob(&digest), Err(Error::NoBlob { .. })));
    assert!(!desk.blob_path(&digest).exists());
    // What a second pull does.
    let mut ingest = store.ingest(&digest, Some(layer.len() as u64)).expect("ingest");
    ingest.write(layer).expect("write");
    ingest.finish().expect("finish");
    image(&store, "a:1", &[layer]);
    let mut text = String::new();
    let mut blob = store.open_blob(&digest).expect("blob");
    blob.file.read_to_string(&mut text).expect("read");
    assert_eq!(text.as_bytes(), layer);
}

#[test]
fn truncated_and_lost_content_is_dropped() {
    let desk = Desk::new();
    let store = desk.open();
    image(&store, "a:1", &[b"one", b"two"]);
    let (one, two) = (Digest::sha256(b"one"), Digest::sha256(b"two"));
    std::fs::write(desk.blob_path(&one), b"").expect("truncate");
    std::fs::remove_file(desk.blob_path(&two)).expect("lose");
    assert!(matches!(store.open_blob(&one), Err(Error::Damaged { .. })));
    assert!(matches!(store.open_blob(&two), Err(Error::Damaged { .. })));
    assert_eq!(store.usage().expect("usage").blob_count, 2, "config and manifest are left");
}

#[test]
fn content_of_another_boot_is_hashed_before_use() {
    let desk = Desk::new();
    let layer = vec![3_u8; 100_000];
    {
        let store = desk.open();
        image(&store, "a:1", &[&layer]);
    }
    // Without its database, as after a rebuild, no content counts as verified in this boot.
    std::fs::remove_file(desk.root().join("meta.redb")).expect("lose the database");
    let mut other = layer.clone();
    other[5000] = 4;
    std::fs::write(desk.blob_path(&Digest::sha256(&layer)), &other).expect("damage");
    let store = desk.open();
    assert_eq!(store.images().expect("images").len(), 1);
    assert!(matches!(store.open_blob(&Digest::sha256(&layer)), Err(Error::Damaged { .. })));
}

#[test]
fn usage_is_exact_and_follows() {
    let desk = Desk::new();
    let store = desk.open();
    let big = vec![1_u8; 300_000];
    image(&store, "a:1", &[&big, b"shared"]);
    let second = image(&store, "b:1", &[b"other", b"shared"]);
    assert_exact(&desk, &store);
    assert_eq!(store.usage().expect("usage").layer_count, 3);
    let mut ingest = store.ingest(&Digest::sha256(b"x"), None).expect("ingest");
    ingest.write(&[0; 50_000]).expect("write");
    assert!(store.usage().expect("usage").partial.bytes >= 50_000 / 512 * 512);
    drop(ingest);
    store.remove_image(&second).expect("remove");
    let collected = store.collect(Strays::Remove, &Nowhere::default()).expect("collect");
    assert_eq!((collected.blobs.len(), collected.layers.len(), collected.strays), (3, 1, 1));
    assert_exact(&desk, &store);
}

/// The sums are what is on disk.
fn assert_exact(desk: &Desk, store: &Store) {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut count) = (0, 0);
    for entry in std::fs::read_dir(desk.root().join("blobs/sha256")).expect("blobs").flatten() {
        bytes += entry.metadata().expect("metadata").blocks() * 512;
        count += 1;
    }
    let usage = store.usage().expect("usage");
    assert_eq!((usage.blobs.bytes, usage.blob_count, usage.blobs.inodes), (bytes, count, count));
}

#[test]
fn content_for_a_while_is_discarded_unless_others_hold_it() {
    let desk = Desk::new();
    let store = desk.open();
    let digest = Digest::sha256(b"compressed");
    let (hold, other) = (store.hold(), store.hold());
    hold.blob(&digest);
    other.blob(&digest);
    store.put_blob(&digest, b"compressed").expect("put");
    assert!(store.put_blob(&Digest::sha256(b"x"), b"y").is_err());
    store.discard_blob(&digest).expect("discard");
    assert!(store.check_blob(&digest).expect("check"));
    drop(other);
    store.discard_blob(&digest).expect("discard");
    assert!(!store.check_blob(&digest).expect("check"));
    image(&store, "a:1", &[b"kept"]);
    store.discard_blob(&Digest::sha256(b"kept")).expect("discard");
    assert!(store.check_blob(&Digest::sha256(b"kept")).expect("check"));
}

#[test]
fn huge_content_is_not_read_at_once() {
    let desk = Desk::new();
    let store = desk.open();
    let digest = store.add_blob(&[0; 1000]).expect("blob");
    assert!(matches!(store.read_blob(&digest, 999), Err(Error::TooLarge { .. })));
    assert_eq!(store.read_blob(&digest, 1000).expect("blob").len(), 1000);
}
