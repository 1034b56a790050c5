//! WebSocket (RFC 6455), the server's side: frames in both directions, messages in pieces.

pub(crate) mod channels;
pub mod frame;
mod reader;
mod sender;

pub(crate) use channels::Channels;
pub use reader::Piece;
pub(crate) use reader::{NORMAL, Reader};
pub use sender::Kind;
pub(crate) use sender::Sender;
