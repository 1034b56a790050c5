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

/// Many messages that differ from a good one in a few bytes, and in length.
#[cfg(test)]
fn mangled(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..200_000).map(move |_| {
        let mut bytes = whole.to_vec();
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = (state >> 8) as usize % bytes.len();
            bytes[at] = state as u8;
        }
        bytes.truncate((state >> 24) as usize % (bytes.len() + 1));
        bytes
    })
}
