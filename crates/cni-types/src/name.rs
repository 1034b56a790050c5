//! Names that come from outside and end up in paths, rules and kernel objects.

use crate::{Code, Error, Result};
use std::fmt;

/// The longest container ID and network name accepted, in bytes.
///
/// The specification sets no bound; both are parts of file names (255 bytes at most).
const NAME_MAX: usize = 200;

fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn identifier(subject: &str, text: &str, code: Code) -> Result<String> {
    if text.is_empty() {
        return Err(Error::new(code, format!("{subject}: is missing or empty")));
    }
    if text.len() > NAME_MAX {
        let len = text.len();
        return Err(Error::new(
            code,
            format!("{subject}: {len} bytes long, at most {NAME_MAX} are allowed"),
        ));
    }
    if !is_identifier(text) {
        return Err(Error::new(code, format!("{subject}: {text:?} is not a valid name")).with_details(
            "it must begin with a letter or digit and hold only letters, digits, '_', '.' and '-'",
        ));
    }
    Ok(text.to_owned())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type! {
    /// `CNI_CONTAINERID`: names the container; with the interface name it names an attachment.
    ContainerId
}
name_type! {
    /// `name` of a network configuration; unique on a node.
    NetworkName
}
name_type! {
    /// `CNI_IFNAME`: an interface name inside the container, 1 to 15 bytes.
    IfName
}
name_type! {
    /// `type` of a plugin: the file name of its executable, never a path.
    PluginType
}

impl ContainerId {
    /// # Errors
    /// [`Code::InvalidEnvironment`] when empty, longer than 200 bytes or of other characters
    /// than the specification allows.
    pub fn parse(text: &str) -> Result<ContainerId> {
        identifier("CNI_CONTAINERID", text, Code::InvalidEnvironment).map(ContainerId)
    }
}

impl NetworkName {
    /// # Errors
    /// [`Code::InvalidConfig`] when empty, longer than 200 bytes or of other characters than
    /// the specification allows.
    pub fn parse(text: &str) -> Result<NetworkName> {
        identifier("name", text, Code::InvalidConfig).map(NetworkName)
    }
}

impl IfName {
    /// # Errors
    /// [`Code::InvalidEnvironment`] for a name that the kernel would refuse as an interface name,
    /// or that does not print.
    pub fn parse(text: &str) -> Result<IfName> {
        let fault = |cause: &str| {
            Err(Error::new(Code::InvalidEnvironment, format!("CNI_IFNAME: {text:?} {cause}")))
        };
        match text {
            "" => return fault("is missing or empty"),
            "." | ".." => return fault("is not an interface name"),
            _ => {}
        }
        if text.len() > 15 {
            return fault("is longer than 15 bytes");
        }
        if text.bytes().any(|b| matches!(b, b'/' | b':') || !b.is_ascii_graphic()) {
            return fault("has a '/', ':', blank or unprintable character");
        }
        Ok(IfName(text.to_owned()))
    }
}

impl PluginType {
    /// # Errors
    /// [`Code::InvalidConfig`] when empty, with a path separator, or starting with a dot.
    pub fn parse(text: &str) -> Result<PluginType> {
        let wrong = text.is_empty()
            || text.starts_with('.')
            || text.len() > NAME_MAX
            || text.bytes().any(|b| b == b'/' || b == b'\\' || !b.is_ascii_graphic());
        if wrong {
            return Err(Error::new(
                Code::InvalidConfig,
                format!("type: {text:?} is not a plugin name"),
            )
            .with_details("it is the file name of an executable in CNI_PATH, never a path"));
        }
        Ok(PluginType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_that_would_leave_their_directory_are_refused() {
        for bad in ["", "../x", ".hidden", "a/b", "a b", "a\0b", "-a", "é", &"x".repeat(201)] {
            let error = ContainerId::parse(bad).expect_err(bad);
            assert_eq!(error.code, Code::InvalidEnvironment);
            assert!(error.msg.starts_with("CNI_CONTAINERID: "), "{error}");
        }
        for good in ["a", "0123456789abcdef", "pod_1.a-b", &"x".repeat(200)] {
            assert_eq!(ContainerId::parse(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "1234567890123456", "a\n"] {
            assert_eq!(IfName::parse(bad).expect_err(bad).code, Code::InvalidEnvironment);
        }
        assert!(IfName::parse("123456789012345").is_ok());
        assert!(IfName::parse("eth0.100").is_ok());
    }

    #[test]
    fn a_plugin_type_is_no_path() {
        for bad in ["", "../reboot", "/bin/sh", ".", "a b", "a\\b"] {
            assert_eq!(PluginType::parse(bad).expect_err(bad).code, Code::InvalidConfig);
        }
        assert!(PluginType::parse("host-local").is_ok());
    }
}
