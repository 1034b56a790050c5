//! How fast an image of 300 MB in 32,000 files and 8 layers becomes snapshots:
//! `cargo run --release -p snapshot --example throughput [gzip|zstd] [DIRECTORY]`.

use layer::{Compression, Expect, Options, PackOptions};
use snapshot::{Begin, Name, Overlay, Snapshots, Snapshotter};
use std::error::Error;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LAYERS: usize = 8;
const FILES: usize = 4000;
const FILE_BYTES: usize = 300_000_000 / (LAYERS * FILES);

/// Compressed bytes, and what they must turn out to be.
type Layer = (Vec<u8>, Expect);

/// Data that compresses about as programs do: to a third.
fn data(seed: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    while bytes.len() < FILE_BYTES {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (*seed >> 33).to_le_bytes();
        bytes.extend_from_slice(&word[..3]);
        bytes.extend_from_slice(b"\x00\x48\x8b\x45\xf8\x00\x00");
    }
    bytes.truncate(FILE_BYTES);
    bytes
}

fn make(dir: &Path, compression: Compression) -> Result<Vec<Layer>, Box<dyn Error>> {
    let mut seed = 7;
    let mut layers = Vec::new();
    for layer in 0..LAYERS {
        let source = dir.join(format!("source{layer}"));
        for at in 0..FILES {
            let parent = source.join(format!("usr/lib/layer{layer}/d{}", at / 40));
            if at % 40 == 0 {
                fs::create_dir_all(&parent)?;
            }
            fs::write(parent.join(format!("file{at}")), data(&mut seed))?;
        }
        let mut bytes = Vec::new();
        let options = PackOptions { compression, ..PackOptions::default() };
        let packed = layer::pack(fs::File::open(&source)?.as_fd(), &mut bytes, &options)?;
        fs::remove_dir_all(&source)?;
        let expect = Expect {
            compression: Some(compression),
            digest: Some(packed.digest),
            size: Some(packed.size),
            diff_id: Some(packed.diff_id),
        };
        layers.push((bytes, expect));
    }
    Ok(layers)
}

fn run(root: &Path, layers: &[Layer]) -> Result<(Duration, Duration), Box<dyn Error>> {
    let store = Snapshots::<Overlay>::open(root, Duration::ZERO)?;
    let start = Instant::now();
    let mut pending = Vec::new();
    for at in 0..layers.len() {
        match store.begin(&Name::new(format!("l{at}"))?, Duration::ZERO)? {
            Begin::Unpack(layer) => pending.push(layer),
            Begin::Have(_) => return Err("the root is not empty".into()),
        }
    }
    let options = Options::default();
    let reports: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = pending
            .iter()
            .zip(layers)
            .map(|(layer, (bytes, expect))| {
                let options = &options;
                scope.spawn(move || layer.unpack(&bytes[..], expect, options))
            })
            .collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let unpacked = start.elapsed();
    let mut commits = Vec::new();
    for (at, (layer, report)) in pending.into_iter().zip(reports).enumerate() {
        let report = report.map_err(|_| "a thread panicked")??;
        let parent = if at > 0 { Some(Name::new(format!("l{}", at - 1))?) } else { None };
        commits.push(layer.on(parent, report));
    }
    store.commit(commits)?;
    Ok((unpacked, start.elapsed()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let compression = match arguments.next().as_deref() {
        Some("zstd") => Compression::Zstd,
        Some("none") => Compression::None,
        _ => Compression::Gzip,
    };
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let base = base.join(format!("podloom-throughput-{}", std::process::id()));
    fs::create_dir_all(&base)?;
    let layers = make(&base, compression)?;
    let size: usize = layers.iter().map(|(bytes, _)| bytes.len()).sum();
    let mut out = std::io::stdout();
    for _ in 0..5 {
        let root = base.join("root");
        let (unpacked, durable) = run(&root, &layers)?;
        let mb = size / 1_000_000;
        writeln!(out, "{compression:?} {mb} MB: unpacked {unpacked:.2?}, durable {durable:.2?}")?;
        fs::remove_dir_all(&root)?;
    }
    fs::remove_dir_all(&base)?;
    Ok(())
}
