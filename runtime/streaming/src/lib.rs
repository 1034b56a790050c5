//! Exec, attach and port-forward streams over WebSocket and SPDY/3.1.
//!
//! kubelet and crictl ask the CRI for a URL and stream to it; [`Server`] makes the URLs and serves
//! them, a [`Backend`] runs the commands.
//!
//! ```no_run
//! # async fn serve(backend: impl streaming::Backend) -> streaming::Result<()> {
//! use std::sync::Arc;
//! use streaming::{PortForward, Server, Settings};
//!
//! let server = Server::bind(Settings::default(), Arc::new(backend)).await?;
//! let url = server.port_forward_url(PortForward { pod: "4f2a".to_owned(), ports: vec![80] })?;
//! println!("{url}"); // http://127.0.0.1:40123/portforward/wJ2...
//! # Ok(())
//! # }
//! ```
//!
//! # Protocols
//! | upgrade | exec and attach | port-forward |
//! |---|---|---|
//! | WebSocket | `v5.channel.k8s.io` (255 closes a channel), `v4`, `v3`, `v2`, `channel.k8s.io`, `base64.` of `v4` and `v1` | `SPDY/3.1+portforward.k8s.io`, `v4.channel.k8s.io`, `v4.base64.channel.k8s.io` |
//! | SPDY/3.1 | `v4.channel.k8s.io` down to `v1` | `portforward.k8s.io` |
//!
//! From version 4 on the outcome is a `Status` object on the error stream (`NonZeroExitCode` with the
//! code as a cause); before, a text if something failed. SPDY's flow control windows are not used:
//! no client of these protocols keeps them, TCP holds back who sends too fast.
//!
//! # Limits
//! A URL is good for one client and a minute. What a client may make the server keep is bounded: the
//! size of frames and of decompressed headers, open streams, and bytes that wait for a process or a
//! port. Messages are passed on in pieces; none is kept whole.

mod backend;
mod command;
mod error;
mod http;
mod link;
mod negotiate;
mod ports;
mod server;
mod session;
mod settings;
mod sink;
mod spdy;
mod status;
mod tls;
mod tokens;
mod websocket;

pub use backend::{
    Attach, Backend, Exec, Future, PortForward, Process, Reader, Resize, Size, Streams, Writer,
};
pub use error::{Error, Kind, Result};
pub use server::Server;
pub use settings::{Settings, Tls};

/// Formats on the wire without their connections, for whoever tests them.
pub mod wire {
    /// Frames and headers of SPDY/3.1.
    pub mod spdy {
        pub use crate::spdy::{frame, headers};
    }
    /// Frames and channels of WebSocket.
    pub mod websocket {
        pub use crate::websocket::channels::Decoder;
        pub use crate::websocket::{Kind, Piece, frame};
    }
}
