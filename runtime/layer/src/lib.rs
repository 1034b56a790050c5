//! Layers of images as streams: decompressed, verified, unpacked, packed.
