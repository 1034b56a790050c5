//! Terminal sizes as clients send them: JSON objects one after another, in pieces of any length.

use crate::Size;
use serde_json::Value;

/// No size is longer.
const MAX_PENDING: usize = 1024;

/// Puts pieces together.
#[derive(Debug, Default)]
pub(crate) struct Sizes(Vec<u8>);

impl Sizes {
    /// The last size that is complete with `piece`. What is no size is left out.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Option<Size> {
        self.0.extend_from_slice(piece);
        let mut values = serde_json::Deserializer::from_slice(&self.0).into_iter::<Value>();
        let mut last = None;
        let mut read = 0;
        let mut broken = false;
        for value in values.by_ref() {
            match value {
                Ok(value) => last = size(&value).or(last),
                Err(cause) => {
                    broken = !cause.is_eof();
                    break;
                }
            }
        }
        read += values.byte_offset();
        self.0.drain(..read.min(self.0.len()));
        if broken || self.0.len() > MAX_PENDING {
            self.0.clear();
        }
        last
    }
}

fn size(value: &Value) -> Option<Size> {
    let side = |name: &str| u16::try_from(value.get(name)?.as_u64()?).ok();
    Some(Size { width: side("Width")?, height: side("Height")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_pieces_and_in_rows() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(br#"{"Width":8"#), None);
        assert_eq!(sizes.push(br#"0,"Height":24}"#), Some(Size { width: 80, height: 24 }));
        let rows = b"{\"Width\":1,\"Height\":2}\n{\"Width\":3,\"Height\":4}\n{\"Wid";
        assert_eq!(sizes.push(rows), Some(Size { width: 3, height: 4 }));
        assert_eq!(sizes.push(b"th\":5,\"Height\":6}"), Some(Size { width: 5, height: 6 }));
    }

    #[test]
    fn what_is_no_size_is_left_out() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(b"}}}"), None);
        assert_eq!(sizes.push(br#"{"Width":70000,"Height":1}"#), None);
        assert_eq!(sizes.push(br#"{"Width":-1,"Height":1}"#), None);
        assert_eq!(sizes.push(&[b'['; 5000]), None);
        assert_eq!(sizes.push(br#"{"Width":1,"Height":1}"#), Some(Size { width: 1, height: 1 }));
    }
}
