//! What goes over the wire. Pure: bytes to values and back; everything that comes from outside is
//! taken for hostile.

pub(crate) mod frame;
pub(crate) mod names;
pub(crate) mod v4;
pub(crate) mod v6;

/// The first two bytes as a number, and the rest.
fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

/// The four bytes at the beginning as a number.
fn long(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|head| u32::from_be_bytes(*head))
}
