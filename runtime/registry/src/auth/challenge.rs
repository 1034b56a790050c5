//! The `WWW-Authenticate` header (RFC 9110, section 11.6.1), read as leniently as registries need.

use std::collections::BTreeMap;

/// Longest header that is looked at, in bytes.
const MAX_HEADER: usize = 16 << 10;
/// More challenges than this are left out.
const MAX_CHALLENGES: usize = 16;

/// One way to authenticate that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case: `basic`, `bearer`.
    pub scheme: String,
    /// Its parameters, names in lower case; the first of equal names counts.
    pub params: BTreeMap<String, String>,
}

/// Reads all challenges of one header; what is malformed is left out, and reading goes on behind it.
#[must_use]
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = if header.len() > MAX_HEADER { "" } else { header };
    while let Some(item) = next_item(&mut rest) {
        match item {
            Item::Scheme(_) if found.len() == MAX_CHALLENGES => break,
            Item::Scheme(scheme) => {
                found.push(Challenge {
                    scheme: scheme.to_ascii_lowercase(),
                    params: BTreeMap::new(),
                });
            }
            Item::Param(name, value) => {
                if let Some(challenge) = found.last_mut() {
                    challenge.params.entry(name.to_ascii_lowercase()).or_insert(value);
                }
            }
        }
    }
    found
}

enum Item<'a> {
    Scheme(&'a str),
    Param(&'a str, String),
}

/// Takes the next scheme or parameter off the front.
fn next_item<'a>(rest: &mut &'a str) -> Option<Item<'a>> {
    loop {
        *rest = rest.trim_start_matches([' ', '\t', ',']);
        let first = rest.chars().next()?;
        let length = rest.bytes().take_while(|b| is_token(*b)).count();
        if length == 0 {
            // Not the start of anything: step over it.
            *rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            *rest = after;
            return Some(Item::Scheme(word));
        };
        let (value, after) = take_value(value.trim_start_matches([' ', '\t']));
        *rest = after;
        return Some(Item::Param(word, value));
    }
}

/// A quoted string or a token, and what follows it. A quote that never ends runs to the end.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // Some servers do not quote addresses: a value ends at a comma or a blank.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        parse(header).into_iter().map(|c| (c.scheme, c.params.into_iter().collect())).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn challenges_parse() {
        let bearer = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let want = vec![
            pair("realm", "https://auth.docker.io/token"),
            pair("scope", "repository:a/b:pull,push"),
            pair("service", "registry.docker.io"),
        ];
        assert_eq!(read(bearer), [("bearer".to_owned(), want)]);
        let both = r#"BASIC realm="a \"b\" c", Bearer realm=https://x/y,Error = "z""#;
        assert_eq!(
            read(both),
            [
                ("basic".to_owned(), vec![pair("realm", "a \"b\" c")]),
                ("bearer".to_owned(), vec![pair("error", "z"), pair("realm", "https://x/y")]),
            ]
        );
        assert_eq!(
            read("Negotiate, Basic"),
            [("negotiate".to_owned(), vec![]), ("basic".to_owned(), vec![])]
        );
    }

    #[test]
    fn malformed_headers_end() {
        for header in [
            "",
            ",,,",
            "=",
            "\"",
            "Bearer realm=\"",
            "Bearer realm=\"a\\",
            "é Bearer é=\"é",
            "Bearer realm",
        ] {
            assert!(parse(header).len() <= 2, "{header}");
        }
        assert!(parse(&"a ".repeat(8000)).len() <= MAX_CHALLENGES);
        assert!(parse(&"a".repeat(MAX_HEADER + 1)).is_empty());
        assert_eq!(read("Bearer realm=a,realm=b")[0].1, [pair("realm", "a")]);
    }
}
