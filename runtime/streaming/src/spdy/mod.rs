//! SPDY/3.1, the server's side, as far as streams of commands and ports need it.
//!
//! The specification is draft 3.1 of the SPDY protocol. Flow control windows are neither kept nor
//! granted: clients of these protocols do without, and TCP holds back who sends too fast.

pub mod frame;
pub mod headers;
mod session;
mod stream;

pub(crate) use session::{Carrier, Session, Source};
pub(crate) use stream::{Stream, Writer};
