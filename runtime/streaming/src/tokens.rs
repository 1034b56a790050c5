//! Requests that wait for their clients, each behind a token that is good for one use.

use crate::{Attach, Error, Exec, Kind, PortForward, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Exec(Exec),
    Attach(Attach),
    PortForward(PortForward),
}

impl Request {
    /// The first part of the URL's path.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Request::Exec(_) => "exec",
            Request::Attach(_) => "attach",
            Request::PortForward(_) => "portforward",
        }
    }
}

/// Random bytes of a token: nobody guesses 192 bits in a minute.
const RANDOM: usize = 24;

pub(crate) struct Tokens {
    waiting: Mutex<HashMap<String, Waiting>>,
    ttl: Duration,
    max: usize,
}

struct Waiting {
    request: Request,
    until: Instant,
}

impl Tokens {
    pub(crate) fn new(ttl: Duration, max: usize) -> Tokens {
        Tokens { waiting: Mutex::default(), ttl, max }
    }

    /// A token for `request`.
    pub(crate) fn issue(&self, request: Request) -> Result<String> {
        let token = random()?;
        let now = Instant::now();
        let mut waiting = self.lock();
        if waiting.len() >= self.max {
            waiting.retain(|_, one| one.until > now);
        }
        if waiting.len() >= self.max {
            let cause = format!("{} requests wait for their clients already", self.max);
            return Err(Error::new(Kind::Exhausted, request.verb(), cause)
                .with_advice("connect to the URLs that were given, or raise the limit"));
        }
        waiting.insert(token.clone(), Waiting { request, until: now + self.ttl });
        Ok(token)
    }

    /// What `token` stands for, once, if it is asked for by the right verb and in time.
    pub(crate) fn redeem(&self, verb: &str, token: &str) -> Option<Request> {
        let mut waiting = self.lock();
        if waiting.get(token)?.request.verb() != verb {
            return None;
        }
        let one = waiting.remove(token)?;
        (one.until > Instant::now()).then_some(one.request)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> Result<String> {
    let mut bytes = [0; RANDOM];
    let mut filled = 0;
    while filled < RANDOM {
        let rest = &mut bytes[filled..];
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(Error::new(Kind::Io, "random bytes", cause)),
        }
    }
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pod: &str) -> Request {
        Request::PortForward(PortForward { pod: pod.to_owned(), ports: Vec::new() })
    }

    #[test]
    fn a_token_is_good_once_and_for_its_verb() {
        let tokens = Tokens::new(Duration::from_secs(60), 10);
        let token = tokens.issue(request("a")).unwrap();
        assert_eq!(token.len(), 32);
        assert_eq!(tokens.redeem("exec", &token), None);
        assert_eq!(tokens.redeem("portforward", &token), Some(request("a")));
        assert_eq!(tokens.redeem("portforward", &token), None);
    }

    #[test]
    fn a_token_ends_with_its_time() {
        let tokens = Tokens::new(Duration::ZERO, 10);
        let token = tokens.issue(request("a")).unwrap();
        assert_eq!(tokens.redeem("portforward", &token), None);
    }

    #[test]
    fn the_number_is_bounded_and_old_ones_make_room() {
        let tokens = Tokens::new(Duration::from_millis(30), 2);
        let first = tokens.issue(request("a")).unwrap();
        let second = tokens.issue(request("b")).unwrap();
        assert_ne!(first, second);
        assert_eq!(tokens.issue(request("c")).unwrap_err().kind(), Kind::Exhausted);
        std::thread::sleep(Duration::from_millis(40));
        tokens.issue(request("c")).unwrap();
    }
}
