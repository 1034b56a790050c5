//! How much a layer may ask for.

/// Bounds of one layer. The defaults let every real image pass.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the tar stream, and of the files it makes, holes included.
    pub bytes: u64,
    /// Entries of the tar stream.
    pub entries: u64,
    /// Unpacked bytes per compressed byte, looked at beyond [`Limits::ratio_from`].
    pub ratio: u64,
    /// Unpacked bytes from which the ratio counts: small files of zeros are no attack.
    pub ratio_from: u64,
    /// Bytes of the extended headers (long names, attributes) of one entry.
    pub header_bytes: u64,
    /// Bytes of the names of all directories: their times are set last, so they are kept.
    pub directory_bytes: usize,
    /// Names in a path.
    pub depth: usize,
    /// Base 2 logarithm of the memory that zstd may take for its window.
    pub zstd_window_log: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 256 << 30,
            entries: 8_000_000,
            ratio: 400,
            ratio_from: 2 << 30,
            header_bytes: 1 << 20,
            directory_bytes: 64 << 20,
            depth: 2048,
            zstd_window_log: 26,
        }
    }
}
