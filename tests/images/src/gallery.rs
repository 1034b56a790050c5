//! Images that tests want often.

use crate::image::{Image, Style};
use crate::layer::{Layer, Packing};
use serde_json::json;
use std::thread;

/// A small image of three layers that replace, hide and link, each packed in another way.
pub fn small() -> Image {
    Image::new(vec![
        (every_kind(), Packing::Gzip),
        (
            Layer::new()
                .file("etc/motd", b"of the second layer\n")
                .whiteout("usr/share/gone")
                .dir("opt", 0o700)
                .opaque("var/cache")
                .file("var/cache/fresh", b"fresh\n"),
            Packing::Zstd,
        ),
        (
            Layer::new().symlink("etc/alias", "motd").hardlink("etc/twin", "etc/alias"),
            Packing::Plain,
        ),
    ])
}

/// A layer with every kind of entry.
pub fn every_kind() -> Layer {
    Layer::new()
        .dir("etc", 0o755)
        .file("etc/motd", b"of the first layer\n")
        .file_of("etc/shadow", (0, 42), b"root:*:\n")
        .dir("bin", 0o755)
        .file_of_mode("bin/sh", 0o755, b"#!/nothing\n")
        .file_of_mode("bin/su", 0o4755, b"set-user-ID\n")
        .hardlink("bin/ash", "bin/sh")
        .symlink("bin/bash", "sh")
        .symlink("lib", "/usr/lib")
        .dir("tmp", 0o1777)
        .dir("usr", 0o755)
        .dir("usr/lib", 0o755)
        .dir("usr/share", 0o755)
        .file("usr/share/gone", b"hidden by the second layer\n")
        .file_with_xattr("usr/share/tagged", "user.tag", b"value\x01\x02")
        .dir("var", 0o755)
        .dir("var/cache", 0o755)
        .file("var/cache/stale", b"hidden by the second layer\n")
        .file("var/empty", b"")
        .file("var/n\u{e4}me with spaces", b"named\n")
        .dir("dev", 0o755)
        .device("dev/null", 1, 3)
        .fifo("var/pipe")
        .file(&format!("usr/share/{}", "long".repeat(40)), b"long name\n")
}

/// An image of `layers` layers, each of which adds one file.
pub fn many_layers(layers: usize) -> Image {
    let layer = |at: usize| {
        let content = format!("layer {at}\n");
        (Layer::new().file(&format!("d/{}/file", at % 7), content.as_bytes()), Packing::Gzip)
    };
    Image::new((0..layers).map(layer).collect())
}

/// An image of 8 layers with `files` files of together about `bytes` bytes; every layer but the
/// first hides some of what is below. `variant` is in the last layer only, so two variants share
/// seven layers.
pub fn bulk(files: usize, bytes: usize, variant: u8) -> Image {
    let each = files / 8;
    let size = bytes / files;
    // Compressing is what takes the time.
    let packed = thread::scope(|scope| {
        let work = |at: usize| {
            move || {
                let seed = if at == 7 { u64::from(variant) + 100 } else { at as u64 };
                crate::layer::pack(&bulk_layer(at, each, size, seed).into_tar(), Packing::Gzip)
            }
        };
        let threads: Vec<_> = (0..8).map(|at| scope.spawn(work(at))).collect();
        threads.into_iter().map(|thread| thread.join().expect("layer")).collect::<Vec<_>>()
    });
    Image::of_packed(&packed, Style::Oci, &json!({}))
}

fn bulk_layer(at: usize, files: usize, size: usize, seed: u64) -> Layer {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut layer = Layer::new();
    for file in 0..files {
        if file % 100 == 0 {
            layer = layer.dir(&format!("srv/part{at}/dir{}", file / 100), 0o755);
        }
        // Sizes from a quarter to seven quarters of the mean; half of it does not compress.
        let this = size / 4 + (size * 6 / 4 * (file % 11)) / 10;
        let mut content = vec![0_u8; this];
        for piece in content.chunks_mut(16) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            for (byte, noise) in piece.iter_mut().zip(random.to_le_bytes()) {
                *byte = noise;
            }
        }
        layer = layer.file(&format!("srv/part{at}/dir{}/file{file}", file / 100), &content);
    }
    if at > 0 {
        for file in (0..files).step_by(50) {
            let below = at - 1;
            layer = layer.whiteout(&format!("srv/part{below}/dir{}/file{file}", file / 100));
        }
    }
    layer
}
