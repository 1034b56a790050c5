//! PullImage: bring an image here. The same request joins the pull under way.

use crate::describe;
use crate::node::Cri;
use crate::status::{Refusal, Result};
use ::image::{Credentials, Pull};
use cri_api::v1::{AuthConfig, PullImageRequest, PullImageResponse};
use tokio::sync::oneshot;
use tracing::Instrument;

pub(super) async fn serve(cri: &Cri, request: PullImageRequest) -> Result<PullImageResponse> {
    let mut pull = Pull::new(&describe::name_of(request.image)?)?;
    pull.credentials = request.auth.map(credentials).transpose()?.flatten();
    let (here, gone) = oneshot::channel::<()>();
    let (images, linger) = (cri.images().clone(), cri.settings().pull_linger);
    // The caller's deadline may pass long before a large image is here: then the pull goes on for a
    // while, so that a caller who asks again finds it further.
    let work = tokio::spawn(
        async move {
            let given_up = async {
                let _left = gone.await;
                tokio::time::sleep(linger).await;
            };
            tokio::select! {
                outcome = images.pull(pull) => Some(outcome),
                () = given_up => None,
            }
        }
        .in_current_span(),
    );
    let outcome = work.await.map_err(|e| Refusal::task("a pull", &e))?;
    drop(here);
    match outcome {
        Some(pulled) => Ok(PullImageResponse { image_ref: pulled?.id.to_string() }),
        None => Err(Refusal::cancelled("a pull", "its caller went away")),
    }
}

/// What kubelet passes on from a pull secret: the first of what is there counts.
fn credentials(auth: AuthConfig) -> Result<Option<Credentials>> {
    if !auth.identity_token.is_empty() {
        return Ok(Some(Credentials::identity(auth.identity_token)));
    }
    if !auth.registry_token.is_empty() {
        return Ok(Some(Credentials::bearer(auth.registry_token)));
    }
    if !auth.username.is_empty() {
        return Ok(Some(Credentials::password(auth.username, auth.password)));
    }
    if auth.auth.is_empty() {
        return Ok(None);
    }
    let Some((name, password)) = decoded(&auth.auth) else {
        return Err(Refusal::invalid("auth", "is not the base64 of USER:PASSWORD"));
    };
    Ok(Some(Credentials::password(name, password)))
}

fn decoded(text: &str) -> Option<(String, String)> {
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    // Some tools pad the password with NUL.
    Some((name.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_credentials_is_understood() {
        let none = AuthConfig { server_address: "a.test".to_owned(), ..AuthConfig::default() };
        assert_eq!(credentials(none).unwrap(), None);
        let named = AuthConfig {
            username: "me".to_owned(),
            password: "pw".to_owned(),
            ..AuthConfig::default()
        };
        assert_eq!(credentials(named).unwrap(), Some(Credentials::password("me", "pw")));
        let packed = AuthConfig { auth: "bWU6cHc=".to_owned(), ..AuthConfig::default() };
        assert_eq!(credentials(packed).unwrap(), Some(Credentials::password("me", "pw")));
        let token = AuthConfig { identity_token: "t".to_owned(), ..AuthConfig::default() };
        assert_eq!(credentials(token).unwrap(), Some(Credentials::identity("t")));
        let token = AuthConfig { registry_token: "t".to_owned(), ..AuthConfig::default() };
        assert_eq!(credentials(token).unwrap(), Some(Credentials::bearer("t")));
    }

    #[test]
    fn broken_credentials_are_refused_without_showing_them() {
        let broken = AuthConfig { auth: "c2VjcmV0".to_owned(), ..AuthConfig::default() };
        let refusal = credentials(broken).unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
        assert!(!refusal.message().contains("c2VjcmV0") && !refusal.message().contains("secret"));
    }
}
