//! A WebSocket client.

use super::{parts, soon};
use futures_util::{SinkExt, StreamExt};
use std::collections::BTreeMap;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A connection over which messages go.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    /// The protocol the server chose.
    pub(crate) protocol: Option<String>,
}

/// What came until the end, by channel, and the end.
#[derive(Debug)]
pub(crate) struct Told {
    channels: BTreeMap<u8, Vec<u8>>,
    pub(crate) close: Option<CloseFrame>,
}

impl Told {
    /// What came on a channel.
    pub(crate) fn text(&self, channel: u8) -> String {
        let bytes = self.channels.get(&channel).cloned().unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    /// The outcome that was told on the error channel.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.text(3)).unwrap()
    }
}

impl Client {
    /// Connects to a URL with a list of protocols; fails with what the server answers.
    pub(crate) async fn connect(url: &str, protocols: &str) -> Result<Client, Error> {
        let mut request = url.replacen("http", "ws", 1).into_client_request()?;
        if !protocols.is_empty() {
            let header = protocols.parse().unwrap();
            request.headers_mut().insert("sec-websocket-protocol", header);
        }
        let stream = TcpStream::connect(parts(url).0).await?;
        let (socket, answer) = soon(tokio_tungstenite::client_async(request, stream)).await?;
        let chosen = answer.headers().get("sec-websocket-protocol");
        let protocol = chosen.map(|chosen| chosen.to_str().unwrap().to_owned());
        Ok(Client { socket, protocol })
    }

    /// Sends bytes on a channel.
    pub(crate) async fn send(&mut self, channel: u8, bytes: &[u8]) {
        let message = [&[channel], bytes].concat();
        soon(self.socket.send(Message::binary(message))).await.unwrap();
    }

    /// The next message of bytes, its channel first.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match soon(self.socket.next()).await?.unwrap() {
                Message::Binary(bytes) => return Some(bytes.to_vec()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Everything until the end.
    pub(crate) async fn rest(mut self) -> Told {
        let mut told = Told { channels: BTreeMap::new(), close: None };
        while let Some(message) = soon(self.socket.next()).await {
            match message {
                Ok(Message::Binary(bytes)) => {
                    told.channels.entry(bytes[0]).or_default().extend(&bytes[1..]);
                }
                Ok(Message::Text(text)) => {
                    let (channel, letters) = text.as_bytes().split_first().unwrap();
                    let bytes = decode(letters);
                    told.channels.entry(channel - b'0').or_default().extend(bytes);
                }
                Ok(Message::Close(close)) => told.close = close,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        told
    }
}

fn decode(letters: &[u8]) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(letters).unwrap()
}
