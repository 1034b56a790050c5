//! Whether a token service may be asked, and may see the credentials of the registry that named it.
//!
//! A registry names its token service in a header, so a hostile or broken-into registry can name any. The rule:
//! over TLS when the registry is; and credentials go along only to the registry's own host, to a host of the same
//! registered domain (`auth.docker.io` for `registry-1.docker.io`), or to one that the operator listed as
//! `auth_realms`. Any other service is asked without them. Addresses are checked where they are dialled.

use reqwest::Url;

use crate::error::{Error, Kind, Result, quote};
use crate::hosts::{Endpoint, authority};

/// A token service that may be asked.
#[derive(Debug)]
pub(crate) struct Realm {
    /// Where.
    pub(crate) url: Url,
    /// Whether it may see the credentials.
    pub(crate) trusted: bool,
}

/// Judges the realm that `endpoint` named.
pub(crate) fn judge(endpoint: &Endpoint, realm: &str) -> Result<Realm> {
    let refuse = |why: &str| {
        Error::new(
            Kind::Refused,
            format!("{}: token service {}", endpoint.host(), bare(realm)),
            why,
        )
    };
    let url = Url::parse(realm).map_err(|e| refuse("is no address").because(&e))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(refuse("is no http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("has a user name in its address"));
    }
    if endpoint.base.scheme() == "https" && url.scheme() != "https" {
        return Err(refuse("would be asked without TLS, which the registry has"));
    }
    let listed = |url: &Url| {
        let (host, name) = (authority(url), url.host_str().unwrap_or_default());
        endpoint.auth_realms.iter().any(|realm| *realm == host || realm == name)
    };
    let trusted =
        same_host(&endpoint.base, &url) || same_domain(&endpoint.base, &url) || listed(&url);
    Ok(Realm { url, trusted })
}

/// An address without its query, which may hold a secret.
fn bare(text: &str) -> String {
    quote(text.split(['?', '#']).next().unwrap_or_default())
}

/// Same host, at any port of it: a registry and its token service often share a machine.
fn same_host(a: &Url, b: &Url) -> bool {
    a.host_str().is_some() && a.host_str() == b.host_str()
}

fn same_domain(a: &Url, b: &Url) -> bool {
    match (a.domain().and_then(registered), b.domain().and_then(registered)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// Second-level names under which others register, as in `co.uk`.
const SHARED: [&str; 12] =
    ["co", "com", "net", "org", "gov", "edu", "ac", "or", "ne", "go", "gob", "nom"];

/// Domains whose subdomains belong to different people: same domain means nothing there.
const PUBLIC: [&str; 28] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "appspot.com",
    "azurecr.io",
    "azurecr.cn",
    "azurewebsites.net",
    "azurecontainer.io",
    "blogspot.com",
    "cloudapp.net",
    "cloudapp.azure.com",
    "cloudfront.net",
    "duckdns.org",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "nip.io",
    "ngrok.io",
    "ngrok.app",
    "onrender.com",
    "pages.dev",
    "run.app",
    "sslip.io",
    "trycloudflare.com",
    "vercel.app",
    "windows.net",
    "workers.dev",
];

/// The registered domain of a name: its last two labels, three below `co.uk` and its like, and none where
/// subdomains are given away to anyone.
fn registered(domain: &str) -> Option<String> {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let below = |suffix: &&&str| domain.ends_with(&format!(".{suffix}")) || domain == ***suffix;
    if PUBLIC.iter().find(below).is_some() {
        return None;
    }
    let labels: Vec<&str> = domain.rsplit('.').collect();
    let shared = labels.len() > 2 && labels[0].len() == 2 && SHARED.contains(&labels[1]);
    let want = if shared { 3 } else { 2 };
    (labels.len() >= want)
        .then(|| labels[..want].iter().rev().copied().collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Hosts;

    fn endpoint(registry: &str) -> Endpoint {
        Hosts::default().endpoints(registry).unwrap().remove(0)
    }

    fn trusted(registry: &str, realm: &str) -> bool {
        judge(&endpoint(registry), realm).unwrap().trusted
    }

    #[test]
    fn credentials_stay_in_the_family() {
        assert!(trusted("docker.io", "https://auth.docker.io/token"));
        assert!(trusted("ghcr.io", "https://ghcr.io/token"));
        assert!(trusted("registry.gitlab.com", "https://gitlab.com/jwt/auth"));
        assert!(trusted("10.0.0.5:5000", "https://10.0.0.5:5001/auth"));
        assert!(trusted("a.example.co.uk", "https://b.example.co.uk/t"));
        for (registry, realm) in [
            ("docker.io", "https://auth.docker.io.evil.example/token"),
            ("docker.io", "https://evildocker.io/token"),
            ("a.co.uk", "https://b.co.uk/t"),
            ("mine.azurecr.io", "https://yours.azurecr.io/t"),
            ("10.0.0.5:5000", "https://10.0.0.6/t"),
            ("registry.internal", "https://other/t"),
            ("localhost:5000", "http://127.0.0.1/t"),
        ] {
            assert!(!trusted(registry, realm), "{registry} {realm}");
        }
        let mut listed = endpoint("registry.example");
        listed.auth_realms = vec!["sso.corp.example:8443".to_owned(), "login.other".to_owned()];
        assert!(judge(&listed, "https://sso.corp.example:8443/t").unwrap().trusted);
        assert!(judge(&listed, "https://login.other/t").unwrap().trusted);
        assert!(!judge(&listed, "https://sso.other:8443/t").unwrap().trusted);
    }

    #[test]
    fn bad_realms_are_refused() {
        let secure = endpoint("quay.io");
        for realm in [
            "",
            "/token",
            "http://quay.io/t",
            "file:///etc/passwd",
            "https://u:p4ss@quay.io/t?a=s3cret",
        ] {
            let error = judge(&secure, realm).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{realm}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
