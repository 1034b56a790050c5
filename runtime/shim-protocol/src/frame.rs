//! Frames: a length and that many bytes of JSON.

use crate::{Error, FRAME_MAX, Kind};
use serde::Serialize;

/// Bytes of the length.
pub const HEAD: usize = 4;

/// A message as a frame.
///
/// # Errors
/// It is longer than [`FRAME_MAX`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut frame = vec![0; HEAD];
    serde_json::to_writer(&mut frame, message)
        .map_err(|error| Error::new(Kind::Internal, "frame", error.to_string()))?;
    let length = frame.len() - HEAD;
    let head = u32::try_from(length).ok().filter(|_| length <= FRAME_MAX).ok_or_else(|| {
        Error::new(Kind::Invalid, "frame", format!("{length} bytes, at most {FRAME_MAX}"))
    })?;
    frame[..HEAD].copy_from_slice(&head.to_le_bytes());
    Ok(frame)
}

/// The first whole frame of what has been received: its JSON, and the length of all of it. `None`
/// while it is not whole.
///
/// # Errors
/// It says that it is longer than [`FRAME_MAX`].
pub fn split(received: &[u8]) -> Result<Option<(&[u8], usize)>, Error> {
    let Some(head) = received.first_chunk::<HEAD>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > FRAME_MAX {
        let cause = format!("{length} bytes, at most {FRAME_MAX}");
        return Err(Error::new(Kind::Internal, "frame", cause));
    }
    let end = HEAD + length;
    Ok(received.get(HEAD..end).map(|json| (json, end)))
}
