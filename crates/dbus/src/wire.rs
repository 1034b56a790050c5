//! Messages of D-Bus as bytes (D-Bus specification, "Message Protocol"). Pure.

use crate::error::{Error, Kind, Result};

/// The longest message that is read, in bytes. The specification's own limit is 128 MiB; answers to
/// our calls have a few hundred bytes.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;

/// The fixed part of a message, and the length of the fields after it.
pub(crate) const FIXED: usize = 16;

const ENDIAN: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };

pub(crate) const CALL: u8 = 1;
pub(crate) const RETURN: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const SIGNAL: u8 = 4;

/// A value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `s`
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `as`
    Texts(Vec<String>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

/// A property of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name, as the object's interface has it.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A body in the making.
#[derive(Debug, Default)]
pub struct Out(Vec<u8>);

impl Out {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn byte(&mut self, n: u8) {
        self.0.push(n);
    }

    /// `u`
    pub fn u32(&mut self, n: u32) {
        self.align(4);
        self.0.extend(n.to_ne_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.align(8);
        self.0.extend(n.to_ne_bytes());
    }

    /// `b`
    pub fn boolean(&mut self, on: bool) {
        self.u32(u32::from(on));
    }

    /// `s` or `o`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a NUL inside, which would end it for the reader, and for one too long.
    pub fn text(&mut self, text: &str) -> Result<()> {
        if text.contains('\0') {
            return Err(Error::invalid(text.escape_debug(), "a text for D-Bus holds a NUL"));
        }
        self.u32(length(text.len())?);
        self.0.extend(text.as_bytes());
        self.byte(0);
        Ok(())
    }

    fn signature(&mut self, text: &str) {
        // The signatures of our calls have a few letters.
        self.byte(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.byte(0);
    }

    /// An array, whose length is known when it is written.
    fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self)?;
        let len = length(self.0.len() - start)?;
        self.0[at..at + 4].copy_from_slice(&len.to_ne_bytes());
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Bool(on) => {
                self.signature("b");
                self.boolean(*on);
            }
            Value::I32(n) => {
                self.signature("i");
                self.u32(n.cast_unsigned());
            }
            Value::U32(n) => {
                self.signature("u");
                self.u32(*n);
            }
            Value::I64(n) => {
                self.signature("x");
                self.u64(n.cast_unsigned());
            }
            Value::U64(n) => {
                self.signature("t");
                self.u64(*n);
            }
            Value::Text(text) => {
                self.signature("s");
                self.text(text)?;
            }
            _ => return self.list(value),
        }
        Ok(())
    }

    fn list(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Bytes(bytes) => {
                self.signature("ay");
                self.array(1, |o| {
                    o.0.extend(bytes);
                    Ok(())
                })
            }
            Value::Numbers(all) => {
                self.signature("au");
                self.array(4, |o| {
                    all.iter().for_each(|n| o.u32(*n));
                    Ok(())
                })
            }
            Value::Texts(all) => {
                self.signature("as");
                self.array(4, |o| all.iter().try_for_each(|t| o.text(t)))
            }
            Value::Pairs(all) => {
                self.signature("a(ss)");
                self.array(8, |o| {
                    all.iter().try_for_each(|(a, b)| {
                        o.align(8);
                        o.text(a)?;
                        o.text(b)
                    })
                })
            }
            _ => Err(Error::invalid("value", "not a list")),
        }
    }

    /// `a(sv)`
    ///
    /// # Errors
    /// As of [`Out::text`].
    pub fn properties(&mut self, all: &[Property]) -> Result<()> {
        self.array(8, |o| {
            all.iter().try_for_each(|p| {
                o.align(8);
                o.text(&p.name)?;
                o.value(&p.value)
            })
        })
    }

    /// `a(sa(sv))` with nothing in it.
    ///
    /// # Errors
    /// None; for the sake of a chain of calls.
    pub fn no_units(&mut self) -> Result<()> {
        self.array(8, |_| Ok(()))
    }
}

fn length(n: usize) -> Result<u32> {
    match n <= MAX_MESSAGE {
        true => u32::try_from(n).map_err(|_| Error::invalid(n, "too long for D-Bus")),
        false => Err(Error::invalid(format_args!("{n} bytes"), "too long for a message")),
    }
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// A name on the bus; of no meaning where there is no bus between.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface that has the method.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// The types of the body, one letter or bracket each.
    pub signature: &'a str,
}

impl Call<'_> {
    /// The call as a message.
    pub(crate) fn message(&self, serial: u32, body: &Out) -> Result<Vec<u8>> {
        let mut out = Out::default();
        out.0.extend([ENDIAN, CALL, 0, 1]);
        out.u32(length(body.0.len())?);
        out.u32(serial);
        let texts = [
            (1, "o", self.path),
            (2, "s", self.interface),
            (3, "s", self.member),
            (6, "s", self.destination),
        ];
        out.array(8, |o| {
            for (code, signature, text) in texts {
                o.align(8);
                o.byte(code);
                o.signature(signature);
                o.text(text)?;
            }
            if !self.signature.is_empty() {
                o.align(8);
                o.byte(8);
                o.signature("g");
                o.signature(self.signature);
            }
            Ok(())
        })?;
        out.align(8);
        out.0.extend(&body.0);
        length(out.0.len())?;
        Ok(out.0)
    }
}

/// A message that came.
#[derive(Debug, Default)]
pub struct Message {
    pub(crate) kind: u8,
    pub(crate) reply_to: Option<u32>,
    /// The method or signal.
    pub member: String,
    pub(crate) error: String,
    pub(crate) signature: String,
    body: Vec<u8>,
}

/// Bytes of a message, read in order and never past the end.
struct In<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn broken(what: &str) -> Error {
    Error::new(Kind::Protocol, "D-Bus", format_args!("a message is broken: {what}"))
}

impl In<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(len).filter(|e| *e <= self.bytes.len());
        let part = &self.bytes[self.at..end.ok_or_else(|| broken("it ends too early"))?];
        self.at += len;
        Ok(part)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to).min(self.bytes.len());
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| broken("number"))?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn chars(&mut self, len: usize) -> Result<String> {
        let text = self.take(len)?.to_vec();
        if self.byte()? != 0 {
            return Err(broken("text without an end"));
        }
        String::from_utf8(text).map_err(|_| broken("text is not UTF-8"))
    }

    fn text(&mut self) -> Result<String> {
        let len = self.u32()? as usize;
        self.chars(len)
    }

    fn signature(&mut self) -> Result<String> {
        let len = usize::from(self.byte()?);
        self.chars(len)
    }
}

/// The length of a whole message, from its fixed part.
pub(crate) fn total(fixed: &[u8; FIXED]) -> Result<usize> {
    if fixed[0] != ENDIAN || fixed[3] != 1 {
        return Err(broken("byte order or version"));
    }
    let number = |i: usize| {
        u32::from_ne_bytes([fixed[i], fixed[i + 1], fixed[i + 2], fixed[i + 3]]) as usize
    };
    let (body, fields) = (number(4), number(12));
    // Each is checked before they are added: their sum cannot wrap.
    if body > MAX_MESSAGE || fields > MAX_MESSAGE {
        return Err(broken("it is too long"));
    }
    Ok((FIXED + fields).next_multiple_of(8) + body)
}

impl Message {
    /// Parses a whole message.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let fixed = bytes.first_chunk::<FIXED>().ok_or_else(|| broken("no head"))?;
        if total(fixed)? != bytes.len() {
            return Err(broken("length"));
        }
        let mut input = In { bytes, at: 12 };
        let end = FIXED + input.u32()? as usize;
        let mut message = Message { kind: fixed[1], ..Message::default() };
        while input.at < end {
            input.align(8);
            let code = input.byte()?;
            match (code, input.signature()?.as_str()) {
                (3, "s") => message.member = input.text()?,
                (4, "s") => message.error = input.text()?,
                (5, "u") => message.reply_to = Some(input.u32()?),
                (8, "g") => message.signature = input.signature()?,
                (_, "s" | "o") => drop(input.text()?),
                (_, "g") => drop(input.signature()?),
                (_, "u" | "h") => drop(input.u32()?),
                _ => return Err(broken("field")),
            }
        }
        if input.at != end {
            return Err(broken("fields"));
        }
        input.align(8);
        message.body = bytes[input.at..].to_vec();
        Ok(message)
    }

    /// The texts of the body: of `s`, `o`, `u` (as digits), `b` (as a word) and a variant of a
    /// text, up to the first value of another kind.
    ///
    /// # Errors
    /// [`Kind::Protocol`] when the body is not what its signature says.
    pub fn texts(&self) -> Result<Vec<String>> {
        let mut input = In { bytes: &self.body, at: 0 };
        let mut all = Vec::new();
        for kind in self.signature.chars() {
            let text = match kind {
                's' | 'o' => input.text()?,
                'u' => input.u32()?.to_string(),
                'b' => (input.u32()? != 0).to_string(),
                'v' => match input.signature()?.as_str() {
                    "s" | "o" => input.text()?,
                    _ => break,
                },
                _ => break,
            };
            all.push(text);
        }
        Ok(all)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
