//! The node's list of sysctls that may be set.

use crate::config::Setting;
use cni_types::{Code, Error, Result};
use regex_lite::Regex;
use std::io::ErrorKind;

/// Where the administrator of the node lists them: one regular expression a line, which matches
/// anywhere in the key of the configuration. Without the file all of `net` may be set.
const PATH: &str = "/etc/cni/tuning/allowlist.conf";

/// The expressions, or none where there is no file.
pub(crate) struct Allowlist(Option<Vec<Regex>>);

impl Allowlist {
    /// Reads the node's list.
    ///
    /// # Errors
    /// [`Code::Io`] when the file is there but cannot be read; [`Code::InvalidConfig`] for a line
    /// that is no expression. A list that cannot be understood allows nothing.
    pub(crate) fn of_node() -> Result<Allowlist> {
        match std::fs::read_to_string(PATH) {
            Ok(text) => Allowlist::parse(&text),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Allowlist(None)),
            Err(e) => Err(Error::io(PATH, &e)),
        }
    }

    fn parse(text: &str) -> Result<Allowlist> {
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        let compiled = lines.map(|(index, line)| {
            Regex::new(line).map_err(|fault| {
                let at = index + 1;
                let cause = format!("{PATH}:{at}: {line:?} is no regular expression: {fault}");
                Error::new(Code::InvalidConfig, cause)
            })
        });
        compiled.collect::<Result<_>>().map(|all| Allowlist(Some(all)))
    }

    /// Whether all of `settings` may be made.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] naming the first key that may not be set.
    pub(crate) fn permit(&self, settings: &[Setting]) -> Result<()> {
        let Some(allowed) = &self.0 else { return Ok(()) };
        let may = |setting: &&Setting| {
            // The same sysctl written with slashes is no other one.
            let dotted = setting.key.replace('/', ".");
            allowed.iter().any(|line| line.is_match(&setting.given) || line.is_match(&dotted))
        };
        match settings.iter().find(|setting| !may(setting)) {
            None => Ok(()),
            Some(refused) => {
                let cause = format!("sysctl.{}: is not allowed on this node", refused.given);
                Err(Error::new(Code::InvalidConfig, cause)
                    .with_details(format!("{PATH} lists what may be set, one expression a line")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(given: &str) -> Setting {
        let key = sysctl::canonical(given).expect("a key");
        Setting { given: given.to_owned(), key, value: "1".to_owned() }
    }

    #[test]
    fn lines_are_expressions_that_match_anywhere() {
        let list =
            Allowlist::parse("^net\\.core\\.somaxconn$\n\n  ipv4\\.conf\\.IFNAME\\.[a-z_]+$ \n")
                .expect("a list");
        for good in ["net.core.somaxconn", "net/core/somaxconn", "net.ipv4.conf.IFNAME.arp_filter"]
        {
            list.permit(&[setting(good)]).expect(good);
        }
        for bad in ["net.core.somaxconn2", "net.ipv4.conf.eth0.arp_filter", "net.ipv4.ip_forward"] {
            let error = list.permit(&[setting("net.core.somaxconn"), setting(bad)]).expect_err(bad);
            assert_eq!(error.code, Code::InvalidConfig);
            assert!(error.msg.starts_with(&format!("sysctl.{bad}: ")), "{error}");
        }
    }

    #[test]
    fn an_empty_list_allows_nothing_and_a_missing_one_all() {
        let any = [setting("net.core.somaxconn")];
        assert!(Allowlist::parse("\n").expect("a list").permit(&any).is_err());
        Allowlist(None).permit(&any).expect("no file");
        let error = Allowlist::parse("a\n(").err().expect("no expression");
        assert!(error.msg.contains("allowlist.conf:2: \"(\""), "{error}");
    }
}
