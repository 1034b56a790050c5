//! What ordinary layers become.
#![allow(dead_code, reason = "the archive maker serves several test programs")]

mod archive;

use archive::{Head, Place, Tar, gzip, truth};
use layer::{Compression, Devices, Digest, Expect, IdRange, Kind, Options, Owner, Whiteouts};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

fn plain() -> Options {
    Options::default()
}

#[test]
fn files_directories_links_devices_and_their_attributes() {
    let place = Place::new();
    let tar = Tar::default()
        .head(Head::new(b'5', "./").mode(0o750))
        .dir("bin/")
        .head(Head::new(b'0', "bin/su").mode(0o4755).owner(7, 8).size(3))
        .raw(b"abc")
        .link("bin/su2", "bin/su")
        .symlink("bin/sh", "/bin/su")
        .head(Head::new(b'3', "null").mode(0o666).device(1, 3))
        .head(Head::new(b'4', "disk").mode(0o660).device(7, 9).owner(0, 6))
        .head(Head::new(b'6', "pipe").mode(0o622))
        .pax(&[
            ("mtime", b"1700000000.123456789"),
            ("SCHILY.xattr.user.note", b"hello"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("uid", b"3000000"),
        ])
        .file("big-uid", b"x")
        .pax(&[("path", format!("{}/name", "d".repeat(200)).as_bytes())])
        .file("short", b"long")
        .end();
    let report = place.unpack(&tar, &plain()).unwrap();
    let su = fs::metadata(place.at("bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o4755, 7, 8, 2));
    assert_eq!(su.mtime(), 0o7000000000);
    assert_eq!(fs::read_link(place.at("bin/sh")).unwrap().to_str(), Some("/bin/su"));
    let null = fs::metadata(place.at("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.mode() & 0o777 == 0o666);
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    let disk = fs::metadata(place.at("disk")).unwrap();
    assert!(disk.file_type().is_block_device() && disk.gid() == 6);
    assert!(fs::metadata(place.at("pipe")).unwrap().file_type().is_fifo());
    let big = fs::metadata(place.at("big-uid")).unwrap();
    assert_eq!((big.uid(), big.mtime(), big.mtime_nsec()), (3_000_000, 1_700_000_000, 123_456_789));
    let file = fs::File::open(place.at("big-uid")).unwrap();
    let xattrs = layer::read_xattrs(file.as_fd(), None).unwrap();
    assert_eq!(xattrs, [(b"user.note".to_vec(), b"hello".to_vec())]);
    assert_eq!(report.skipped_xattrs, 1);
    assert_eq!(fs::read(place.at(&format!("{}/name", "d".repeat(200)))).unwrap(), b"long");
    assert_eq!(fs::metadata(place.root()).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::metadata(place.at("bin")).unwrap().mtime(), 0o7000000000);
    assert_eq!(report.implied.len(), 1);
    let walked = layer::usage(place.dir().as_fd()).unwrap();
    assert_eq!(report.usage.inodes + 1, walked.inodes, "the root itself is the caller's");
}

#[test]
fn every_compression_with_all_its_digests() {
    let tar = Tar::default().file("a", b"data").end();
    let zstd_one = zstd::encode_all(&tar[..700], 1).unwrap();
    let zstd_two = zstd::encode_all(&tar[700..], 19).unwrap();
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..]].concat();
    let zstd = [&skippable[..], &zstd_one, &skippable, &zstd_two, &skippable].concat();
    let members = [gzip(&tar[..600]), gzip(&[]), gzip(&tar[600..])].concat();
    for (bytes, compression) in [
        (tar.clone(), Compression::None),
        (gzip(&tar), Compression::Gzip),
        (members, Compression::Gzip),
        (zstd, Compression::Zstd),
    ] {
        let place = Place::new();
        let report = place.unpack_as(&bytes, &truth(&bytes, &tar, compression), &plain()).unwrap();
        assert_eq!(report.diff_id, Digest::sha256(&tar));
        assert_eq!(report.compressed_bytes, bytes.len() as u64);
        assert_eq!(fs::read(place.at("a")).unwrap(), b"data");
    }
}

#[test]
fn a_stream_in_tiny_chunks_is_the_same() {
    let tar = Tar::default().file("a", &[7; 5000]).end();
    let bytes = gzip(&tar);
    let chunks = layer::Chunks::new(bytes.chunks(3).map(Ok::<_, std::io::Error>));
    let place = Place::new();
    let expect = truth(&bytes, &tar, Compression::Gzip);
    layer::unpack(chunks, place.dir().as_fd(), &expect, &plain()).unwrap();
    assert_eq!(fs::read(place.at("a")).unwrap(), [7; 5000]);
    let broken = bytes.chunks(3).map(Ok).take(20).chain([Err(std::io::Error::other("cut off"))]);
    let place = Place::new();
    let error = layer::unpack(layer::Chunks::new(broken), place.dir().as_fd(), &expect, &plain());
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Source);
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let place = Place::new();
    let tar = Tar::default()
        .file("a", b"file")
        .dir("a")
        .file("a/inside", b"1")
        .dir("b")
        .file("b/x", b"1")
        .file("b", b"now a file")
        .symlink("c", "a")
        .file("c", b"not through the link")
        .file("d", b"one")
        .file("d", b"two")
        .head(Head::new(b'5', "a").mode(0o700))
        .end();
    let report = place.unpack(&tar, &plain()).unwrap();
    assert_eq!(fs::read(place.at("a/inside")).unwrap(), b"1");
    assert_eq!(fs::metadata(place.at("a")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::read(place.at("b")).unwrap(), b"now a file");
    assert_eq!(fs::read(place.at("c")).unwrap(), b"not through the link");
    assert_eq!(fs::read(place.at("d")).unwrap(), b"two");
    let walked = layer::usage(place.dir().as_fd()).unwrap();
    assert_eq!(report.usage.inodes + 1, walked.inodes);
}

#[test]
fn links_in_the_path_lead_where_they_lead_in_the_container() {
    let place = Place::new();
    let tar = Tar::default()
        .dir("usr/")
        .dir("usr/lib/")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr/lib")
        .file("lib/a", b"a")
        .file("abs/b", b"b")
        .end();
    place.unpack(&tar, &plain()).unwrap();
    assert_eq!(fs::read(place.at("usr/lib/a")).unwrap(), b"a");
    assert_eq!(fs::read(place.at("usr/lib/b")).unwrap(), b"b");
}

#[test]
fn whiteouts_become_those_of_an_overlay() {
    let place = Place::new();
    let tar = Tar::default()
        .file(".wh.gone", b"")
        .file("d/.wh.gone", b"")
        .file("o/.wh..wh..opq", b"")
        .file("o/kept", b"")
        .file(".wh.again", b"")
        .dir("again/")
        .dir("before/")
        .file(".wh.before", b"")
        .file("both", b"own")
        .file(".wh.both", b"")
        .file(".wh..wh.plnk/1.2", b"aufs")
        .end();
    let report = place.unpack(&tar, &plain()).unwrap();
    for gone in ["gone", "d/gone"] {
        let stat = fs::symlink_metadata(place.at(gone)).unwrap();
        assert!(stat.file_type().is_char_device() && stat.rdev() == 0, "{gone}");
    }
    let opaque = |path: &str| {
        let dir = fs::File::open(place.at(path)).unwrap();
        layer::read_xattrs(dir.as_fd(), None).unwrap()
            == [(b"trusted.overlay.opaque".to_vec(), b"y".to_vec())]
    };
    assert!(opaque("o") && opaque("again") && opaque("before") && !opaque("d"));
    assert_eq!(fs::read(place.at("both")).unwrap(), b"own");
    assert!(!place.at(".wh..wh.plnk").exists());
    assert!(!report.opaque_root);

    let place = Place::new();
    let files = Options { whiteouts: Whiteouts::Files, ..plain() };
    let report = place
        .unpack(&Tar::default().file("a/.wh.b", b"").file(".wh..wh..opq", b"").end(), &files)
        .unwrap();
    assert!(report.opaque_root);
    assert!(place.at("a/.wh.b").exists() && place.at(".wh..wh..opq").exists());
}

#[test]
fn owners_are_mapped_or_left() {
    let tar = || Tar::default().head(Head::new(b'0', "a").owner(5, 6)).symlink("s", "a");
    let ranges = vec![IdRange { container: 0, host: 100_000, size: 65_536 }];
    let owner = Owner::Mapped { uids: ranges.clone(), gids: ranges };
    let mapped = Options { owner, ..plain() };
    let place = Place::new();
    place.unpack(&tar().file("in/it", b"").end(), &mapped).unwrap();
    for (path, want) in [
        ("a", (100_005, 100_006)),
        ("s", (100_000, 100_000)),
        ("in", (100_000, 100_000)),
        ("in/it", (100_000, 100_000)),
    ] {
        let stat = fs::symlink_metadata(place.at(path)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), want, "{path}");
    }
    let outside = tar().head(Head::new(b'0', "b").owner(70_000, 0)).end();
    let error = Place::new().unpack(&outside, &mapped).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    let place = Place::new();
    place.unpack(&tar().end(), &Options { owner: Owner::Caller, ..plain() }).unwrap();
    assert_eq!(fs::metadata(place.at("a")).unwrap().uid(), 0);
}

#[test]
fn devices_can_be_left_out() {
    let tar = Tar::default().head(Head::new(b'3', "null").device(1, 3)).file("a", b"").end();
    let place = Place::new();
    let skip = Options { devices: Devices::Skip, ..plain() };
    let report = place.unpack(&tar, &skip).unwrap();
    assert_eq!(report.skipped_devices, 1);
    assert!(!place.at("null").exists() && place.at("a").exists());
}

#[test]
fn sparse_files_of_every_form() {
    let whole = [vec![0; 4096], b"data".repeat(128), vec![0; 4096], b"tail".to_vec()].concat();
    let stored = [b"data".repeat(128), b"tail".to_vec()].concat();
    let size = whole.len().to_string();
    let (size, map) = (size.as_bytes(), &b"4096,512,8704,4"[..]);
    let old = Head::new(b'S', "f")
        .put(257, b"ustar  \0")
        .put(345, &[0; 155])
        .put(386, "00000010000 00000001000 00000021000 00000000004 ".replace(' ', "\0").as_bytes())
        .put(483, format!("{:011o}\0", whole.len()).as_bytes())
        .size(stored.len() as u64);
    let lines = [&b"2\n4096\n512\n8704\n4\n"[..], &[0; 494], &stored].concat();
    let forms = [
        Tar::default().head(old).raw(&stored),
        Tar::default()
            .pax(&[
                ("GNU.sparse.size", size),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"4096"),
                ("GNU.sparse.numbytes", b"512"),
                ("GNU.sparse.offset", b"8704"),
                ("GNU.sparse.numbytes", b"4"),
            ])
            .file("f", &stored),
        Tar::default()
            .pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map), ("GNU.sparse.name", b"f")])
            .file("GNUSparseFile.0/f", &stored),
        Tar::default()
            .pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"f"),
                ("GNU.sparse.realsize", size),
            ])
            .file("GNUSparseFile.0/f", &lines),
    ];
    for (form, tar) in forms.into_iter().enumerate() {
        let place = Place::new();
        place.unpack(&tar.file("after", b"x").end(), &plain()).unwrap();
        assert!(fs::read(place.at("f")).unwrap() == whole, "form {form}");
        assert_eq!(fs::read(place.at("after")).unwrap(), b"x", "form {form}");
    }
}

#[test]
fn an_empty_layer_and_one_without_an_end_are_layers() {
    for tar in [Vec::new(), vec![0; 1024], Tar::default().file("a", b"1").0] {
        let place = Place::new();
        place.unpack_as(&tar, &Expect::default(), &plain()).unwrap();
    }
}
