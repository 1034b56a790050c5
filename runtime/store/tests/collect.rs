//! Garbage collection: what is kept, by whom, and what goes.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod desk;

use desk::{Desk, Nowhere, image};
use std::time::Duration;
use store::{Digest, Error, Lease, Space, Store, Strays};

fn collect(store: &Store) -> (usize, Vec<String>, u64) {
    let nowhere = Nowhere::default();
    let collected = store.collect(Strays::Remove, &nowhere).expect("collect");
    let removed = nowhere.removed.into_inner();
    (collected.blobs.len(), removed, collected.strays)
}

#[test]
fn images_keep_what_they_share() {
    let desk = Desk::new();
    let store = desk.open();
    let a = image(&store, "a:1", &[b"base", b"a"]);
    let b = image(&store, "b:1", &[b"base", b"b"]);
    assert_eq!(collect(&store), (0, vec![], 0));
    store.remove_image(&a).expect("remove");
    // Configuration, manifest, one layer; the unpacked one with it.
    assert_eq!(collect(&store), (3, vec![Digest::sha256(b"a").to_string()], 0));
    assert!(store.check_blob(&Digest::sha256(b"base")).expect("check"));
    store.remove_name("b:1").expect("remove");
    assert_eq!(collect(&store).0, 0, "an image without a name is still an image");
    store.remove_image(&b).expect("remove");
    assert_eq!(collect(&store).0, 4);
    assert_eq!(desk.files("blobs") + desk.files("trash"), 0);
    assert_eq!(store.usage().expect("usage").total(), Space::default());
}

#[test]
fn a_running_container_keeps_its_removed_image() {
    let desk = Desk::new();
    let id = {
        let store = desk.open();
        let id = image(&store, "a:1", &[b"base", b"a"]);
        store.lease_image("container-1", "container 1", &id).expect("lease");
        store.remove_image(&id).expect("remove");
        assert_eq!(collect(&store), (0, vec![], 0));
        id
    };
    // The daemon restarts; the container runs on.
    let store = desk.open();
    assert_eq!(collect(&store), (0, vec![], 0));
    assert_eq!(store.leases().expect("leases")[0].image.as_ref(), Some(&id));
    store.release("container-1").expect("release");
    assert!(matches!(store.release("container-1"), Err(Error::NoLease { .. })));
    let (blobs, layers, _) = collect(&store);
    assert_eq!((blobs, layers.len()), (4, 2));
}

#[test]
fn leases_end_with_their_time_and_their_boot() {
    let desk = Desk::new();
    let store = desk.open();
    let id = image(&store, "a:1", &[b"a"]);
    let layers = vec![Digest::sha256(b"a").to_string()];
    store.remove_image(&id).expect("remove");
    let mut lease = Lease::of_this_boot("l", "a build");
    lease.layers.clone_from(&layers);
    lease.expires = Some(u64::MAX);
    store.lease(&lease).expect("lease");
    let (blobs, removed, _) = collect(&store);
    assert_eq!((blobs, removed), (3, vec![]), "the lease keeps the layer alone");
    lease.expires = Some(1);
    store.lease(&lease).expect("lease");
    assert_eq!(store.leases().expect("leases"), []);
    lease.expires = None;
    lease.boot = Some("of yesterday".to_owned());
    store.lease(&lease).expect("lease");
    assert_eq!(store.leases().expect("leases"), []);
    assert_eq!(collect(&store), (0, layers, 0));
    assert!(matches!(store.release("l"), Err(Error::NoLease { .. })), "swept with the rest");
}

#[test]
fn work_under_way_is_held() {
    let desk = Desk::new();
    let store = desk.open();
    let hold = store.hold();
    let whole = store.add_blob(b"whole").expect("blob");
    hold.blob(&whole);
    hold.blob(&whole);
    hold.layer("layer");
    store.add_layer("layer", Space { bytes: 1, inodes: 1 });
    let mut ingest = store.ingest(&Digest::sha256(b"partial"), None).expect("ingest");
    ingest.write(b"part").expect("write");
    assert_eq!(collect(&store), (0, vec![], 0));
    ingest.write(b"ial").expect("write");
    let partial = ingest.finish().expect("finish");
    assert!(store.check_blob(&whole).expect("check"));
    assert_eq!(collect(&store), (0, vec![], 1), "nobody held the second");
    assert!(!store.check_blob(&partial).expect("check"));
    drop(hold);
    assert_eq!(collect(&store), (0, vec!["layer".to_owned()], 2));
    assert_eq!(store.usage().expect("usage").total(), Space::default());
    assert_eq!(desk.files("blobs") + desk.files("ingest") + desk.files("trash"), 0);
}

#[test]
fn fresh_strays_are_kept_for_the_pull_that_goes_on() {
    let desk = Desk::new();
    {
        let store = desk.open();
        let mut ingest = store.ingest(&Digest::sha256(b"partial"), None).expect("ingest");
        ingest.write(b"part").expect("write");
        store.add_blob(b"whole").expect("blob");
    }
    let store = desk.open();
    let keep = Strays::KeepFor(Duration::from_secs(3600));
    assert_eq!(store.collect(keep, &Nowhere::default()).expect("collect").strays, 0);
    assert_eq!(desk.files("ingest") + desk.files("blobs"), 2);
    let now = Strays::KeepFor(Duration::ZERO);
    assert_eq!(store.collect(now, &Nowhere::default()).expect("collect").strays, 2);
    assert_eq!(desk.files("ingest") + desk.files("blobs"), 0);
}

#[test]
fn collections_beside_pulls_take_nothing_away() {
    let desk = Desk::new();
    let store = desk.open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..10 {
                    let hold = store.hold();
                    let layer = format!("layer {}", round % 3);
                    hold.blob(&Digest::sha256(layer.as_bytes()));
                    let name = format!("{thread}:{round}");
                    for text in [format!("config of {name} 1"), format!("manifest of {name}")] {
                        hold.blob(&Digest::sha256(text.as_bytes()));
                    }
                    hold.layer(Digest::sha256(layer.as_bytes()).as_str());
                    let commit = desk::commit(store, &name, &[layer.as_bytes()]);
                    store.commit(&commit).expect("commit");
                    drop(hold);
                    assert!(store.check_blob(&Digest::sha256(layer.as_bytes())).expect("check"));
                    store.remove_image(&commit.image.id).expect("remove");
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                store.collect(Strays::Remove, &Nowhere::default()).expect("collect");
            }
        });
    });
    collect(&store);
    assert_eq!(store.usage().expect("usage").total(), Space::default());
}

#[test]
fn layers_that_only_the_disk_knows_are_strays() {
    let desk = Desk::new();
    let store = desk.open();
    image(&store, "a:1", &[b"a"]);
    let hold = store.hold();
    hold.layer("held");
    let known = Digest::sha256(b"a").to_string();
    let strays = vec!["held".to_owned(), known, "stray".to_owned()];
    let disk = Nowhere { strays, ..Nowhere::default() };
    let keep = Strays::KeepFor(Duration::ZERO);
    store.collect(keep, &disk).expect("collect");
    assert!(disk.removed.borrow().is_empty());
    store.collect(Strays::Remove, &disk).expect("collect");
    assert_eq!(*disk.removed.borrow(), ["stray"]);
}
