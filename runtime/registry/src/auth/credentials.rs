//! Credentials that cannot be printed.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};

/// Text that no `Debug`, error or log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text` from now on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads text only, and its errors never repeat what they found: it may be a secret of the wrong type.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        fn wrong<E: de::Error>() -> E {
            E::custom("a secret is written as a string in quotes")
        }
        impl<'de> Visitor<'de> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                Err(wrong())
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(wrong())
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                Err(wrong())
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(wrong())
            }
        }
        from.deserialize_any(Text)
    }
}

/// What a registry is shown to let someone in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password, for basic authentication and for token services.
    Password {
        /// The user's name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, exchanged at the token service (OAuth 2, `grant_type=refresh_token`).
    Identity {
        /// The refresh token.
        token: Secret,
    },
    /// A token that the registry itself takes, sent as it is.
    Bearer {
        /// The token.
        token: Secret,
    },
}

impl Credentials {
    /// A name and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { username: username.into(), password: Secret::new(password) }
    }

    /// A refresh token.
    pub fn identity(token: impl Into<String>) -> Self {
        Self::Identity { token: Secret::new(token) }
    }

    /// A registry token.
    pub fn bearer(token: impl Into<String>) -> Self {
        Self::Bearer { token: Secret::new(token) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_secret() {
        for credentials in [
            Credentials::password("me", "hunter2"),
            Credentials::identity("hunter2"),
            Credentials::bearer("hunter2"),
        ] {
            let shown = format!("{credentials:?} {credentials:#?}");
            assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
        }
        let error = serde_json::from_str::<Secret>("271828").unwrap_err().to_string();
        assert!(!error.contains("271828"), "{error}");
    }
}
