//! A client of exec and attach: the channels of version 5.

#![allow(dead_code, reason = "each test program uses a part of it")]

use futures_util::{SinkExt, StreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

pub(crate) const STDIN: u8 = 0;
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const RESIZE: u8 = 4;
pub(crate) const CLOSE: u8 = 255;

/// How long an answer may take.
const SOON: Duration = Duration::from_secs(20);

/// A connection to a command's streams.
pub(crate) struct Channels {
    socket: WebSocketStream<TcpStream>,
    told: BTreeMap<u8, Vec<u8>>,
}

impl Channels {
    /// Connects, and waits for the first message, which says that the streams are there.
    pub(crate) async fn connect(url: &str) -> Result<Channels, Error> {
        let rest = url.strip_prefix("http://").expect("a URL of http");
        let host = rest.split('/').next().expect("a host");
        let mut request = format!("ws://{rest}").into_client_request()?;
        let protocol = "v5.channel.k8s.io".parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let stream = TcpStream::connect(host).await.map_err(Error::Io)?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        let mut channels = Channels { socket, told: BTreeMap::new() };
        channels.next().await;
        Ok(channels)
    }

    /// Sends bytes on a channel.
    pub(crate) async fn send(&mut self, channel: u8, bytes: &[u8]) {
        let message = [&[channel], bytes].concat();
        let sent = tokio::time::timeout(SOON, self.socket.send(Message::binary(message)));
        sent.await.expect("in time").expect("sent");
    }

    /// Takes a message; false once there are no more.
    async fn next(&mut self) -> bool {
        match tokio::time::timeout(SOON, self.socket.next()).await.expect("in time") {
            Some(Ok(Message::Binary(bytes))) => {
                let (channel, bytes) = bytes.split_first().expect("a channel");
                self.told.entry(*channel).or_default().extend(bytes);
                true
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => false,
            Some(Ok(_)) => true,
        }
    }

    /// What came on a channel so far.
    pub(crate) fn text(&self, channel: u8) -> String {
        String::from_utf8_lossy(self.told.get(&channel).map_or(&[], Vec::as_slice)).into_owned()
    }

    /// Waits until that came on a channel.
    pub(crate) async fn until(&mut self, channel: u8, text: &str) {
        while !self.text(channel).contains(text) {
            assert!(self.next().await, "{text:?} did not come: {:?}", self.text(channel));
        }
    }

    /// Waits for the end.
    pub(crate) async fn rest(mut self) -> Channels {
        while self.next().await {}
        self
    }

    /// The outcome: `None` for success, else the exit code or the message.
    pub(crate) fn failure(&self) -> Option<String> {
        let status: serde_json::Value =
            serde_json::from_str(&self.text(ERROR)).expect("an outcome");
        let code = &status["details"]["causes"][0]["message"];
        match status["status"].as_str() {
            Some("Success") => None,
            _ => Some(code.as_str().or(status["message"].as_str()).unwrap_or("?").to_owned()),
        }
    }
}
