//! `CNI_ARGS`: extra arguments, `KEY=VALUE` separated by semicolons.

use crate::{Code, Error, Result};

/// The parsed `CNI_ARGS`. Keys a plugin does not know are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(Vec<(String, String)>);

impl Args {
    /// Reads `KEY=VALUE;KEY=VALUE`. Blank pairs are skipped.
    ///
    /// # Errors
    /// [`Code::InvalidEnvironment`] for a pair without `=` or with an empty key.
    pub fn parse(text: &str) -> Result<Args> {
        let mut pairs = Vec::new();
        for pair in text.split(';').filter(|p| !p.trim().is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    pairs.push((key.trim().to_owned(), value.to_owned()));
                }
                _ => {
                    return Err(Error::new(
                        Code::InvalidEnvironment,
                        format!("CNI_ARGS: {pair:?} is not KEY=VALUE"),
                    ));
                }
            }
        }
        Ok(Args(pairs))
    }

    /// The value of `key`; the last one wins. An empty value counts as absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    /// All pairs in their order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_unknown_keys_are_kept_quiet() {
        let args = Args::parse("IgnoreUnknown=1;K8S_POD_NAME=a=b;IP=10.0.0.5;IP=10.0.0.6;X=;")
            .expect("args");
        assert_eq!(args.get("IP"), Some("10.0.0.6"));
        assert_eq!(args.get("K8S_POD_NAME"), Some("a=b"));
        assert_eq!(args.get("X"), None);
        assert_eq!(args.get("Y"), None);
        assert_eq!(Args::parse("").expect("empty"), Args::default());
        assert_eq!(Args::parse("a").expect_err("no value").code, Code::InvalidEnvironment);
        assert_eq!(Args::parse("=1").expect_err("no key").code, Code::InvalidEnvironment);
    }
}
