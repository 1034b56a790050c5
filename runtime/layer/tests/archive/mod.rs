//! Archives made byte by byte, so that they may be wrong, and a place to unpack them.

#![allow(clippy::unwrap_used, reason = "a test's library fails the test")]

use layer::{Compression, Digest, Error, Expect, Options, Report};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A tar stream in the making.
#[derive(Default, Clone)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// A header before its checksum.
pub(crate) struct Head(pub(crate) [u8; 512]);

impl Head {
    pub(crate) fn new(flag: u8, name: &str) -> Head {
        let mut head = [0; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..108].copy_from_slice(b"0000644\0");
        head[108..116].copy_from_slice(b"0000000\0");
        head[116..124].copy_from_slice(b"0000000\0");
        head[124..136].copy_from_slice(b"00000000000\0");
        head[136..148].copy_from_slice(b"07000000000\0");
        head[156] = flag;
        head[257..265].copy_from_slice(b"ustar\x0000");
        Head(head)
    }

    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Head {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn mode(self, mode: u32) -> Head {
        self.put(100, format!("{mode:07o}\0").as_bytes())
    }

    pub(crate) fn owner(self, uid: u32, gid: u32) -> Head {
        self.put(108, format!("{uid:07o}\0{gid:07o}\0").as_bytes())
    }

    pub(crate) fn size(self, size: u64) -> Head {
        self.put(124, format!("{size:011o}\0").as_bytes())
    }

    pub(crate) fn link(self, to: &str) -> Head {
        self.put(157, to.as_bytes())
    }

    pub(crate) fn device(self, major: u32, minor: u32) -> Head {
        self.put(329, format!("{major:07o}\0{minor:07o}\0").as_bytes())
    }

    fn sealed(mut self) -> [u8; 512] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|b| u32::from(*b)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

impl Tar {
    pub(crate) fn head(mut self, head: Head) -> Tar {
        self.0.extend(head.sealed());
        self
    }

    pub(crate) fn raw(mut self, data: &[u8]) -> Tar {
        self.0.extend(data);
        let whole = self.0.len().next_multiple_of(512);
        self.0.resize(whole, 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Tar {
        self.head(Head::new(b'0', name).size(data.len() as u64)).raw(data)
    }

    pub(crate) fn dir(self, name: &str) -> Tar {
        self.head(Head::new(b'5', name).mode(0o755))
    }

    pub(crate) fn symlink(self, name: &str, to: &str) -> Tar {
        self.head(Head::new(b'2', name).mode(0o777).link(to))
    }

    pub(crate) fn link(self, name: &str, to: &str) -> Tar {
        self.head(Head::new(b'1', name).link(to))
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut data = Vec::new();
        for (key, value) in records {
            let bare = key.len() + value.len() + 3;
            let mut length = bare + 1;
            while bare + length.to_string().len() != length {
                length = bare + length.to_string().len();
            }
            data.extend(format!("{length} {key}=").bytes());
            data.extend(*value);
            data.push(b'\n');
        }
        self.head(Head::new(b'x', "pax").size(data.len() as u64)).raw(&data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

/// A directory with a target to unpack into and a witness beside it that must stay as it is.
pub(crate) struct Place {
    pub(crate) base: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Place {
    pub(crate) fn new() -> Place {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("podloom-layer-{}-{count}", std::process::id());
        let base = std::env::temp_dir().join(name);
        fs::create_dir(&base).unwrap();
        fs::create_dir(base.join("root")).unwrap();
        fs::write(base.join("witness"), "untouched").unwrap();
        Place { base }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.base.join("root")
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn dir(&self) -> File {
        File::open(self.root()).unwrap()
    }

    pub(crate) fn unpack(&self, tar: &[u8], options: &Options) -> Result<Report, Error> {
        self.unpack_as(tar, &Expect::default(), options)
    }

    pub(crate) fn unpack_as(
        &self,
        bytes: &[u8],
        expect: &Expect,
        options: &Options,
    ) -> Result<Report, Error> {
        let result = layer::unpack(bytes, self.dir().as_fd(), expect, options);
        self.nothing_escaped();
        result
    }

    pub(crate) fn nothing_escaped(&self) {
        let mut names: Vec<_> =
            fs::read_dir(&self.base).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["root", "witness"], "something was written outside");
        let witness = self.base.join("witness");
        assert_eq!(fs::read_to_string(&witness).unwrap(), "untouched");
        use std::os::unix::fs::MetadataExt;
        let stat = fs::metadata(&witness).unwrap();
        assert_eq!((stat.nlink(), stat.mode() & 0o7777), (1, 0o644), "the witness was changed");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let parent = File::open(self.base.parent().unwrap_or(Path::new("/"))).unwrap();
        let name = self.base.file_name().unwrap().as_encoded_bytes();
        layer::remove_tree(parent.as_fd(), name).unwrap();
    }
}

/// What a manifest and configuration would say of `bytes`, whose tar stream is `tar`.
pub(crate) fn truth(bytes: &[u8], tar: &[u8], compression: Compression) -> Expect {
    Expect {
        compression: Some(compression),
        digest: Some(Digest::sha256(bytes)),
        size: Some(bytes.len() as u64),
        diff_id: Some(Digest::sha256(tar)),
    }
}
