//! A SPDY/3.1 client, made from the specification and not from the server's own code.

use super::{parts, soon};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const DICTIONARY: &[u8] = include_bytes!("../../src/spdy/dictionary.bin");

/// A server's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Reply { stream: u32 },
    Data { stream: u32, bytes: Vec<u8>, fin: bool },
    Reset { stream: u32, status: u32 },
    Ping { id: u32 },
    GoAway { status: u32 },
    End,
}

/// A connection over which frames go.
pub(crate) struct Spdy<S = TcpStream> {
    pub(crate) stream: S,
    /// The head of the answer to the upgrade.
    pub(crate) answer: String,
    pack: Compress,
    unpack: Decompress,
    next: u32,
}

impl Spdy {
    /// Connects to a URL and offers versions.
    pub(crate) async fn connect(url: &str, versions: &[&str]) -> Spdy {
        let spdy = Spdy::attempt(url, versions).await;
        assert!(spdy.answer.starts_with("HTTP/1.1 101 "), "{}", spdy.answer);
        spdy
    }

    /// The same, whatever the answer is.
    pub(crate) async fn attempt(url: &str, versions: &[&str]) -> Spdy {
        let (host, path) = parts(url);
        let mut stream = TcpStream::connect(host).await.unwrap();
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n"
        );
        for version in versions {
            request += &format!("X-Stream-Protocol-Version: {version}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon(stream.read_u8()).await.unwrap());
        }
        Spdy::over(stream, String::from_utf8(answer).unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Spdy<S> {
    /// Frames over anything.
    pub(crate) fn over(stream: S, answer: String) -> Spdy<S> {
        let mut pack = Compress::new(Compression::best(), true);
        pack.set_dictionary(DICTIONARY).unwrap();
        Spdy { stream, answer, pack, unpack: Decompress::new(true), next: 1 }
    }

    /// Opens a stream and waits for the reply.
    pub(crate) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.open_unanswered(headers).await;
        assert_eq!(self.next().await, Frame::Reply { stream: id });
        id
    }

    /// Opens a stream.
    pub(crate) async fn open_unanswered(&mut self, headers: &[(&str, &str)]) -> u32 {
        let id = self.next;
        self.next += 2;
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend((text.len() as u32).to_be_bytes());
            block.extend(text.as_bytes());
        }
        self.open_packed(id, &block).await;
        id
    }

    /// Opens a stream of a number with a header block that is compressed here.
    pub(crate) async fn open_packed(&mut self, id: u32, block: &[u8]) {
        let mut packed = Vec::with_capacity(block.len() + 256);
        self.pack.compress_vec(block, &mut packed, FlushCompress::Sync).unwrap();
        let mut body = [id.to_be_bytes(), [0; 4]].concat();
        body.extend([0, 0]);
        body.extend(packed);
        self.control(1, &body).await;
    }

    /// Sends a control frame.
    pub(crate) async fn control(&mut self, kind: u16, body: &[u8]) {
        let mut frame = vec![0x80, 3];
        frame.extend(kind.to_be_bytes());
        frame.extend((body.len() as u32).to_be_bytes());
        frame.extend(body);
        soon(self.stream.write_all(&frame)).await.unwrap();
        soon(self.stream.flush()).await.unwrap();
    }

    /// Sends data.
    pub(crate) async fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.frame(stream, 0, bytes).await;
    }

    /// Says that no more data will come.
    pub(crate) async fn finish(&mut self, stream: u32) {
        self.frame(stream, 1, b"").await;
    }

    async fn frame(&mut self, stream: u32, flags: u8, bytes: &[u8]) {
        let mut frame = stream.to_be_bytes().to_vec();
        frame.extend(((u32::from(flags) << 24) | bytes.len() as u32).to_be_bytes());
        frame.extend(bytes);
        soon(self.stream.write_all(&frame)).await.unwrap();
        soon(self.stream.flush()).await.unwrap();
    }

    /// Ends a stream in both directions.
    pub(crate) async fn reset(&mut self, stream: u32) {
        self.control(3, &[stream.to_be_bytes(), 5u32.to_be_bytes()].concat()).await;
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Frame {
        soon(self.read()).await.unwrap_or(Frame::End)
    }

    async fn read(&mut self) -> std::io::Result<Frame> {
        let first = self.stream.read_u32().await?;
        let second = self.stream.read_u32().await?;
        let (flags, length) = (second >> 24, second & 0xFF_FFFF);
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body).await?;
        if first >> 31 == 0 {
            return Ok(Frame::Data { stream: first, bytes: body, fin: flags & 1 != 0 });
        }
        let word = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        assert_eq!(first >> 16, 0x8003, "the version of a frame");
        Ok(match first & 0xFFFF {
            2 => {
                self.headers(&body[4..]);
                Frame::Reply { stream: word(0) }
            }
            3 => Frame::Reset { stream: word(0), status: word(4) },
            6 => Frame::Ping { id: word(0) },
            7 => Frame::GoAway { status: word(4) },
            other => unreachable!("a frame of kind {other}"),
        })
    }

    /// Decompresses a block; the server's are empty.
    fn headers(&mut self, packed: &[u8]) {
        let mut plain = Vec::with_capacity(1024);
        let mut rest = packed;
        loop {
            let before = self.unpack.total_in();
            let step = self.unpack.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            rest = &rest[(self.unpack.total_in() - before) as usize..];
            match step {
                Ok(_) => break,
                Err(_) => self.unpack.set_dictionary(DICTIONARY).unwrap(),
            };
        }
        assert_eq!((plain.as_slice(), rest.len()), (&[0, 0, 0, 0][..], 0));
    }

    /// What comes on streams until the server ends the connection or says goodbye.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Frame::End => return frames,
                frame => frames.push(frame),
            }
        }
    }
}

/// The data of a stream among `frames`, as text.
pub(crate) fn text(frames: &[Frame], of: u32) -> String {
    let mut all = Vec::new();
    for frame in frames {
        if let Frame::Data { stream, bytes, .. } = frame
            && *stream == of
        {
            all.extend(bytes);
        }
    }
    String::from_utf8(all).unwrap()
}

/// Whether the server finished a stream among `frames`.
pub(crate) fn finished(frames: &[Frame], of: u32) -> bool {
    frames.iter().any(|f| matches!(f, Frame::Data { stream, fin: true, .. } if *stream == of))
}
