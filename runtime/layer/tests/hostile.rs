//! Layers made to harm: refused with the right reason, and nothing outside is touched.
#![allow(dead_code, reason = "the archive maker serves several test programs")]

mod archive;

use archive::{Head, Place, Tar, gzip, truth};
use layer::{Compression, Digest, Expect, Kind, Limits, Options};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};

fn refused(tar: &[u8]) -> Kind {
    refused_with(tar, &Options::default())
}

#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
fn refused_with(tar: &[u8], options: &Options) -> Kind {
    let place = Place::new();
    let error = place.unpack(tar, options).unwrap_err();
    assert!(!error.to_string().is_empty());
    error.kind()
}

fn limited(set: impl FnOnce(&mut Limits)) -> Options {
    let mut options = Options::default();
    set(&mut options.limits);
    options
}

#[test]
fn names_that_climb_out() {
    for name in ["../witness", "a/../../witness", "..", "a/b/../../../x", "/../witness"] {
        assert_eq!(refused(&Tar::default().file(name, b"x").end()), Kind::Escape, "{name}");
        let link = Tar::default().link("l", name).end();
        assert_eq!(refused(&link), Kind::Escape, "hard link to {name}");
        let pax = Tar::default().pax(&[("path", name.as_bytes())]).file("fine", b"x").end();
        assert_eq!(refused(&pax), Kind::Escape, "pax {name}");
    }
    let place = Place::new();
    place.unpack(&Tar::default().file("/abs/./a/../b", b"x").end(), &Options::default()).unwrap();
    assert!(place.at("abs/b").exists(), "an absolute name is one from the root of the layer");
}

#[test]
fn writing_through_links() {
    let place = Place::new();
    let witness = place.base.display().to_string();
    let tar = Tar::default()
        .symlink("out", &witness)
        .symlink("up", "../../../../../../..")
        .symlink("w", "../witness")
        .dir("tmp")
        .file("up/tmp/x", b"inside")
        .file("w", b"a new file, not through the link")
        .symlink("w2", "../witness")
        .head(Head::new(b'5', "w2").mode(0o777))
        .symlink("w3", "../witness")
        .link("w4", "w3")
        .head(Head::new(b'0', "w4").mode(0o4777))
        .end();
    place.unpack(&tar, &Options::default()).unwrap();
    assert_eq!(fs::read(place.at("tmp/x")).unwrap(), b"inside");
    assert!(place.at("w2").is_dir());
    // A link that leads nowhere inside: no directory is made where it points outside.
    let place = Place::new();
    let target = format!("{}/made", place.base.display());
    let tar = Tar::default().symlink("out", &target).file("out/x", b"").end();
    assert_eq!(place.unpack(&tar, &Options::default()).unwrap_err().kind(), Kind::Io);
    place.nothing_escaped();
    let twisted = Tar::default().symlink("a", "b").symlink("b", "a").file("a/x", b"").end();
    assert_eq!(refused(&twisted), Kind::Io);
}

#[test]
fn a_link_put_in_the_way_from_outside() {
    // The target directory itself prepared by somebody else.
    let place = Place::new();
    symlink("../witness", place.at("w")).unwrap();
    symlink("..", place.at("d")).unwrap();
    let tar = Tar::default().file("w", b"x").file("d/witness", b"x").dir("d").end();
    place.unpack(&tar, &Options::default()).unwrap();
    assert!(place.at("witness").exists(), "`..` of the root is the root");
}

#[test]
fn hard_links_that_link_nothing() {
    for tar in [
        Tar::default().link("a", "/etc/passwd"),
        Tar::default().link("a", "a"),
        Tar::default().dir("d").link("a", "d"),
        Tar::default().link("a", "."),
        Tar::default().file(".wh.x", b"").link("a", "x"),
    ] {
        assert_eq!(refused(&tar.end()), Kind::Format);
    }
    let place = Place::new();
    let tar = Tar::default().symlink("s", "../witness").link("h", "s").end();
    place.unpack(&tar, &Options::default()).unwrap();
    assert!(fs::symlink_metadata(place.at("h")).unwrap().is_symlink(), "the link itself");
}

#[test]
fn whiteouts_that_hide_no_file() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh./x", "a/.wh.b/c"] {
        assert_eq!(refused(&Tar::default().file(name, b"").end()), Kind::Whiteout, "{name}");
    }
    assert_eq!(refused(&Tar::default().file("a/../../.wh.x", b"").end()), Kind::Escape);
    let null = Tar::default().head(Head::new(b'3', "x").device(0, 0)).end();
    assert_eq!(refused(&null), Kind::Unsupported, "a forged whiteout");
    let place = Place::new();
    let tar = Tar::default().symlink("out", "..").file("out/.wh.witness", b"").end();
    place.unpack(&tar, &Options::default()).unwrap();
}

#[test]
fn bombs() {
    let zeros = Tar::default().file("zeros", &vec![0; 8 << 20]).end();
    let small = limited(|l| (l.ratio_from, l.ratio) = (1 << 20, 100));
    assert_eq!(refused_with(&gzip(&zeros), &small), Kind::Limit);
    assert_eq!(refused_with(&zstd::encode_all(&zeros[..], 3).unwrap(), &small), Kind::Limit);
    assert_eq!(refused_with(&gzip(&zeros), &limited(|l| l.bytes = 1 << 20)), Kind::Limit);
    let trailing = [Tar::default().end(), vec![0; 8 << 20]].concat();
    assert_eq!(refused_with(&gzip(&trailing), &small), Kind::Limit, "after the end");
    let mut many = Tar::default();
    for at in 0..200 {
        many = many.dir(&format!("d{at}"));
    }
    let many = many.end();
    assert_eq!(refused_with(&many, &limited(|l| l.entries = 100)), Kind::Limit);
    assert_eq!(refused_with(&many, &limited(|l| l.directory_bytes = 1000)), Kind::Limit);
    let deep = "d/".repeat(3000);
    let deep = Tar::default().pax(&[("path", deep.as_bytes())]).dir("x").end();
    assert_eq!(refused(&deep), Kind::Limit);
}

#[test]
fn sparse_files_larger_than_anything() {
    let size = i64::MAX.to_string();
    for map in ["0,0", "9223372036854775295,512"] {
        let data = if map == "0,0" { vec![] } else { vec![1; 512] };
        let tar = Tar::default()
            .pax(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", map.as_bytes())])
            .file("huge", &data)
            .end();
        assert_eq!(refused(&tar), Kind::Limit, "{map}");
    }
    for map in ["0,512,100,512", "512,512", "0,1024", "x", "0", "18446744073709551615,512"] {
        let tar = Tar::default()
            .pax(&[("GNU.sparse.size", b"600"), ("GNU.sparse.map", map.as_bytes())])
            .file("f", &[1; 512])
            .end();
        assert_eq!(refused(&tar), Kind::Format, "{map}");
    }
}

#[test]
fn long_headers_and_sizes_that_lie() {
    let long = Tar::default().head(Head::new(b'L', "x").size(8 << 30)).end();
    assert_eq!(refused(&long), Kind::Limit);
    let mut many = Tar::default();
    for _ in 0..2000 {
        many = many.head(Head::new(b'x', "x").size(600)).raw(&b"600 a=".repeat(100));
    }
    assert!(matches!(refused(&many.end()), Kind::Limit | Kind::Format));
    let name = "n".repeat(300);
    let tar = Tar::default().pax(&[("path", name.as_bytes())]).file("x", b"").end();
    assert_eq!(refused(&tar), Kind::Io, "no file system takes it");
    // The pax size is the file's, not that of the long name between: no hidden entry appears.
    let hidden = Tar::default().file("hidden", b"").0;
    let tar = Tar::default()
        .pax(&[("size", hidden.len().to_string().as_bytes())])
        .head(Head::new(b'L', "l").size(5))
        .raw(b"real\0")
        .head(Head::new(b'0', "short"))
        .raw(&hidden)
        .file("after", b"")
        .end();
    let place = Place::new();
    place.unpack(&tar, &Options::default()).unwrap();
    assert!(place.at("real").exists() && place.at("after").exists());
    assert!(!place.at("hidden").exists());
    for (at, text) in [(124, "-0000000001\0"), (124, "9999999999x\0"), (108, "9999999\0")] {
        let tar = Tar::default().head(Head::new(b'0', "x").put(at, text.as_bytes())).end();
        assert_eq!(refused(&tar), Kind::Format, "{text}");
    }
    for uid in ["4294967295", "4294967296", "-1", "18446744073709551616"] {
        let tar = Tar::default().pax(&[("uid", uid.as_bytes())]).file("x", b"").end();
        assert_eq!(refused(&tar), Kind::Format, "uid {uid} must never be cut to another");
    }
}

#[test]
fn streams_that_are_not_what_they_should_be() {
    let tar = Tar::default().file("a", &[1; 3000]).end();
    let bytes = gzip(&tar);
    let right = truth(&bytes, &tar, Compression::Gzip);
    let place = Place::new;
    let kind = |bytes: &[u8], expect: &Expect| {
        place().unpack_as(bytes, expect, &Options::default()).unwrap_err().kind()
    };
    let other = Some(Digest::sha256(b"other"));
    assert_eq!(
        kind(&bytes, &Expect { digest: other.clone(), ..right.clone() }),
        Kind::DigestMismatch
    );
    assert_eq!(kind(&bytes, &Expect { diff_id: other, ..right.clone() }), Kind::DiffIdMismatch);
    let short = &bytes[..bytes.len() - 5];
    assert_eq!(kind(short, &right), Kind::SizeMismatch);
    assert_eq!(kind(short, &Expect::default()), Kind::Truncated);
    let longer = [&bytes[..], b"garbage that is no member of it"].concat();
    assert_eq!(kind(&longer, &right), Kind::SizeMismatch);
    assert_eq!(kind(&longer, &Expect::default()), Kind::Compression);
    let mut damaged = bytes.clone();
    damaged[20] ^= 0x55;
    assert_eq!(kind(&damaged, &right), Kind::DigestMismatch, "the transfer is to blame");
    let wrong = Expect { compression: Some(Compression::Zstd), ..Expect::default() };
    assert_eq!(kind(&bytes, &wrong), Kind::Compression);
    for cut in [1, 511, 513, 1000, 2000] {
        assert_eq!(
            kind(&tar[..cut], &Expect::default()),
            if cut == 1 || cut > 512 || cut == 511 { Kind::Truncated } else { Kind::Format }
        );
    }
    let mut zstd = zstd::encode_all(&tar[..], 3).unwrap();
    zstd.truncate(zstd.len() - 4);
    assert_eq!(kind(&zstd, &Expect::default()), Kind::Truncated);
    let mut bad = tar.clone();
    bad[0] ^= 1;
    assert_eq!(kind(&bad, &Expect::default()), Kind::Format, "checksum");
    let lone = [&[0; 512][..], &tar].concat();
    assert_eq!(kind(&lone, &Expect::default()), Kind::Format);
}

#[test]
fn a_failed_layer_is_removed_by_its_caller() {
    let place = Place::new();
    let mut tar = Tar::default();
    for at in 0..50 {
        tar = tar.file(&format!("d{at}/{}f", "x/".repeat(30)), b"1");
    }
    place.unpack(&tar.file("../out", b"").end(), &Options::default()).unwrap_err();
    let base = fs::File::open(&place.base).unwrap();
    layer::remove_tree(base.as_fd(), b"root").unwrap();
    assert!(!place.root().exists());
    fs::create_dir(place.root()).unwrap();
}

#[test]
fn deep_wide_and_protected_trees_are_removed() {
    let place = Place::new();
    let mut dir = fs::File::open(place.root()).unwrap();
    for _ in 0..3000 {
        use rustix::fs::{Mode, OFlags, mkdirat, openat};
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = openat(&dir, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap().into();
    }
    for at in 0..6000 {
        fs::write(place.at(&format!("f{at}")), "").unwrap();
    }
    let file = fs::File::open(place.at("f1")).unwrap();
    let marked = rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::IMMUTABLE);
    assert!(marked.is_err() || fs::remove_file(place.at("f1")).is_err());
    assert_eq!(layer::usage(place.dir().as_fd()).unwrap().inodes, 9001);
    let base = fs::File::open(&place.base).unwrap();
    layer::remove_tree(base.as_fd(), b"root").unwrap();
    layer::remove_tree(base.as_fd(), b"root").unwrap();
    assert!(!place.root().exists());
}

#[test]
fn set_user_id_survives_the_change_of_owner() {
    let place = Place::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::default()
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .head(Head::new(b'0', "ping").mode(0o6755).owner(1000, 1000))
        .end();
    place.unpack(&tar, &Options::default()).unwrap();
    let stat = fs::metadata(place.at("ping")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid()), (0o6755, 1000));
    let file = fs::File::open(place.at("ping")).unwrap();
    let xattrs = layer::read_xattrs(file.as_fd(), None).unwrap();
    assert_eq!(xattrs, [(b"security.capability".to_vec(), capability.to_vec())]);
}
