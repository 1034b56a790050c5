//! Signals by name (signal(7)).

use crate::{Error, Kind, Result};

/// Names of the classic signals, the first is 1.
const NAMES: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT \
    CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// Other names of some.
const ALIASES: [(&str, i32); 5] =
    [("IOT", 6), ("CLD", 17), ("POLL", 29), ("INFO", 30), ("UNUSED", 31)];

/// First and last signal for applications, as C libraries count them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

pub(crate) const KILL: i32 = 9;
pub(crate) const TERM: i32 = 15;

/// The number of a signal: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `RTMAX-1`; the CRI's way to write
/// `+` and `-` as well.
///
/// # Errors
/// There is no such signal.
pub(crate) fn number(text: &str) -> Result<i32> {
    parse(text).ok_or_else(|| {
        let e = Error::new(Kind::Invalid, format!("signal {text:?}"), "is not known");
        e.with_advice("see signal(7)")
    })
}

fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let distance = |rest: &str, sign: char, word: &str| {
        let digits = rest.strip_prefix(sign).or_else(|| rest.strip_prefix(word));
        match (rest, digits) {
            ("", _) => Some(0),
            (_, Some(digits)) => digits.parse::<i32>().ok().filter(|n| (0..=30).contains(n)),
            _ => None,
        }
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return distance(rest, '+', "PLUS").map(|n| RTMIN + n);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return distance(rest, '-', "MINUS").map(|n| RTMAX - n);
    }
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number);
    let at = NAMES.split_ascii_whitespace().position(|known| known == name);
    alias.or_else(|| at.and_then(|at| i32::try_from(at + 1).ok()))
}

/// The signal that asks a container to end: its own, the image's, or SIGTERM.
///
/// # Errors
/// There is no such signal.
pub(crate) fn of_stop(asked: cri_api::v1::Signal, image: Option<&str>) -> Result<i32> {
    match (asked, image) {
        (cri_api::v1::Signal::RuntimeDefault, None) => Ok(TERM),
        (cri_api::v1::Signal::RuntimeDefault, Some(image)) => number(image),
        (asked, _) => number(asked.as_str_name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri_api::v1::Signal;

    #[test]
    fn every_signal_of_the_cri_has_a_number() {
        let mut value = 1;
        while let Ok(signal) = Signal::try_from(value) {
            assert!(of_stop(signal, None).is_ok(), "{}", signal.as_str_name());
            value += 1;
        }
        assert!(value > 60, "{value}");
        assert_eq!(of_stop(Signal::Sigkill, Some("SIGINT")).ok(), Some(9));
        assert_eq!(of_stop(Signal::Sigrtminplus3, None).ok(), Some(37));
        assert_eq!(of_stop(Signal::Sigrtmaxminus1, None).ok(), Some(63));
    }

    #[test]
    fn the_image_is_asked_where_the_container_says_nothing() {
        let of = |text| of_stop(Signal::RuntimeDefault, text).ok();
        assert_eq!(of(None), Some(15));
        assert_eq!(of(Some("SIGQUIT")), Some(3));
        assert_eq!(of(Some("usr1")), Some(10));
        assert_eq!(of(Some("SIGRTMIN+3")), Some(37));
        assert_eq!(of(Some("RTMAX")), Some(64));
        for wrong in ["", "0", "65", "-1", "SIGNONE", "RTMIN+31", "RTMIN3", "SIG"] {
            assert_eq!(of(Some(wrong)), None, "{wrong:?}");
        }
    }
}
