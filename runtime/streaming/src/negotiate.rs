//! Which protocol a client and this server have in common.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{CONNECTION, HeaderName, UPGRADE};
use sha1::{Digest, Sha1};

/// What goes over a connection once it is upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Channels of a command: the first byte of a message names the channel.
    CommandChannels { version: u8, base64: bool },
    /// A SPDY stream for each of a command's streams.
    CommandStreams { version: u8 },
    /// Channels of ports: a data and an error channel each.
    PortChannels { base64: bool },
    /// SPDY streams of ports.
    PortStreams,
    /// The same, in WebSocket messages.
    PortTunnel,
}

/// The outcome of a negotiation: the protocol, and what the answer's head says of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) protocol: Protocol,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// Why there is no common protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is no upgrade to SPDY/3.1 or WebSocket.
    NoUpgrade(&'static str),
    /// It offers none of these.
    NoneOf(Vec<&'static str>),
}

/// Names the version of a SPDY upgrade, and answers it.
pub(crate) const STREAM_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Tells a client whose offers are all unknown what would be.
pub(crate) const ACCEPTED_VERSIONS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");
const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const WEBSOCKET_VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// RFC 6455, section 1.3: shows that the server speaks WebSocket and not merely repeats a header.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Offer = (&'static str, Protocol);

const fn channels(version: u8, base64: bool) -> Protocol {
    Protocol::CommandChannels { version, base64 }
}

/// Best first; a client without a word of protocols means the first version.
const COMMAND_CHANNELS: &[Offer] = &[
    ("v5.channel.k8s.io", channels(5, false)),
    ("v4.channel.k8s.io", channels(4, false)),
    ("v4.base64.channel.k8s.io", channels(4, true)),
    ("v3.channel.k8s.io", channels(3, false)),
    ("v2.channel.k8s.io", channels(2, false)),
    ("channel.k8s.io", channels(1, false)),
    ("base64.channel.k8s.io", channels(1, true)),
    ("", channels(1, false)),
];

const COMMAND_STREAMS: &[Offer] = &[
    ("v4.channel.k8s.io", Protocol::CommandStreams { version: 4 }),
    ("v3.channel.k8s.io", Protocol::CommandStreams { version: 3 }),
    ("v2.channel.k8s.io", Protocol::CommandStreams { version: 2 }),
    ("channel.k8s.io", Protocol::CommandStreams { version: 1 }),
    ("", Protocol::CommandStreams { version: 1 }),
];

const PORT_CHANNELS: &[Offer] = &[
    ("SPDY/3.1+portforward.k8s.io", Protocol::PortTunnel),
    ("v4.channel.k8s.io", Protocol::PortChannels { base64: false }),
    ("v4.base64.channel.k8s.io", Protocol::PortChannels { base64: true }),
    ("", Protocol::PortChannels { base64: false }),
];

const PORT_STREAMS: &[Offer] =
    &[("portforward.k8s.io", Protocol::PortStreams), ("", Protocol::PortStreams)];

/// Chooses a protocol for a request with `headers` to `verb`.
pub(crate) fn negotiate(verb: &str, headers: &HeaderMap) -> Result<Agreed, Refusal> {
    let ports = verb == "portforward";
    if !offers(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade")) {
        return Err(Refusal::NoUpgrade("the request has no 'Connection: Upgrade'"));
    }
    let to = |name: &str| offers(headers, &UPGRADE).any(|word| word.eq_ignore_ascii_case(name));
    if to("websocket") {
        websocket(headers, if ports { PORT_CHANNELS } else { COMMAND_CHANNELS })
    } else if to("SPDY/3.1") {
        spdy(headers, if ports { PORT_STREAMS } else { COMMAND_STREAMS })
    } else {
        Err(Refusal::NoUpgrade("the request upgrades to neither SPDY/3.1 nor WebSocket"))
    }
}

fn websocket(headers: &HeaderMap, known: &[Offer]) -> Result<Agreed, Refusal> {
    if !offers(headers, &WEBSOCKET_VERSION).any(|version| version == "13") {
        return Err(Refusal::NoUpgrade("only version 13 of WebSocket is spoken"));
    }
    let key = headers.get(WEBSOCKET_KEY).map(|key| key.as_bytes().trim_ascii());
    let key = key
        .filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16))
        .ok_or(Refusal::NoUpgrade("the WebSocket key is not 16 bytes in base64"))?;
    let (name, protocol) = choose(headers, &WEBSOCKET_PROTOCOL, known)?;
    let accept =
        STANDARD.encode(Sha1::new().chain_update(key).chain_update(WEBSOCKET_GUID).finalize());
    let mut answer = vec![(UPGRADE, "websocket".to_owned()), (WEBSOCKET_ACCEPT, accept)];
    if !name.is_empty() {
        answer.push((WEBSOCKET_PROTOCOL, name.to_owned()));
    }
    Ok(Agreed { protocol, headers: answer })
}

fn spdy(headers: &HeaderMap, known: &[Offer]) -> Result<Agreed, Refusal> {
    let (name, protocol) = choose(headers, &STREAM_VERSION, known)?;
    let mut answer = vec![(UPGRADE, "SPDY/3.1".to_owned())];
    if !name.is_empty() {
        answer.push((STREAM_VERSION, name.to_owned()));
    }
    Ok(Agreed { protocol, headers: answer })
}

/// The first of the client's offers that is known: clients offer what they like best first.
fn choose(headers: &HeaderMap, header: &HeaderName, known: &[Offer]) -> Result<Offer, Refusal> {
    let mut none = true;
    for offer in offers(headers, header) {
        none = false;
        if let Some(found) = known.iter().find(|(name, _)| *name == offer) {
            return Ok(*found);
        }
    }
    let silent = known.iter().find(|(name, _)| none && name.is_empty());
    let named = || known.iter().map(|(name, _)| *name).filter(|name| !name.is_empty());
    silent.copied().ok_or_else(|| Refusal::NoneOf(named().collect()))
}

/// The words of a header that may be given several times and with commas.
fn offers<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn spdy_offer(versions: &[&str]) -> HeaderMap {
        let mut pairs = vec![("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        pairs.extend(versions.iter().map(|version| ("x-stream-protocol-version", *version)));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn websocket_offer(protocols: &str) -> HeaderMap {
        request(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocols),
        ])
    }

    #[test]
    fn the_example_of_rfc_6455_is_answered_as_it_says() {
        let agreed = negotiate("exec", &websocket_offer("v5.channel.k8s.io")).unwrap();
        assert_eq!(agreed.protocol, channels(5, false));
        assert!(
            agreed.headers.contains(&(WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()))
        );
        assert!(agreed.headers.contains(&(WEBSOCKET_PROTOCOL, "v5.channel.k8s.io".to_owned())));
    }

    #[test]
    fn the_clients_first_known_offer_is_taken() {
        let versions = ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"];
        let agreed = negotiate("attach", &spdy_offer(&versions)).unwrap();
        assert_eq!(agreed.protocol, Protocol::CommandStreams { version: 4 });
        assert!(agreed.headers.contains(&(STREAM_VERSION, "v4.channel.k8s.io".to_owned())));
        let listed = negotiate("exec", &spdy_offer(&["v9.channel.k8s.io, v2.channel.k8s.io"]));
        assert_eq!(listed.unwrap().protocol, Protocol::CommandStreams { version: 2 });
        let tunnel = websocket_offer("SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io");
        assert_eq!(negotiate("portforward", &tunnel).unwrap().protocol, Protocol::PortTunnel);
        let ports = negotiate("portforward", &spdy_offer(&["portforward.k8s.io"])).unwrap();
        assert_eq!(ports.protocol, Protocol::PortStreams);
    }

    #[test]
    fn silence_means_the_first_version() {
        let agreed = negotiate("exec", &spdy_offer(&[])).unwrap();
        assert_eq!(agreed.protocol, Protocol::CommandStreams { version: 1 });
        assert!(!agreed.headers.iter().any(|(name, _)| *name == STREAM_VERSION));
    }

    #[test]
    fn what_is_in_common_is_told_where_nothing_is() {
        let refusal = negotiate("portforward", &spdy_offer(&["v7.channel.k8s.io"])).unwrap_err();
        assert_eq!(refusal, Refusal::NoneOf(vec!["portforward.k8s.io"]));
        assert!(matches!(negotiate("exec", &request(&[])), Err(Refusal::NoUpgrade(_))));
        let http2 = request(&[("connection", "upgrade"), ("upgrade", "h2c")]);
        assert!(matches!(negotiate("exec", &http2), Err(Refusal::NoUpgrade(_))));
        let mut keyless = websocket_offer("v5.channel.k8s.io");
        keyless.insert("sec-websocket-key", "c2hvcnQ=".parse().unwrap());
        assert!(matches!(negotiate("exec", &keyless), Err(Refusal::NoUpgrade(_))));
    }
}
