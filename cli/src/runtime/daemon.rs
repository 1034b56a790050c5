//! The daemon: how it is reached, what its answers mean, and what is meant by a name.

use super::args::{Form, Place};
use crate::fault::{Fault, Result};
use crate::print;
use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use cri_api::v1::{Container, ListContainersRequest, ListPodSandboxRequest, PodSandbox};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// The CRI's bound for messages.
const MAX_MESSAGE: usize = 16 << 20;

/// The daemon, reached.
#[derive(Clone)]
pub(crate) struct Daemon {
    channel: Channel,
    form: Form,
}

/// What a name stands for.
pub(crate) enum Named {
    Container(Box<Container>),
    Pod(Box<PodSandbox>),
}

impl Daemon {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens at the socket.
    pub(crate) async fn connect(place: &Place) -> Result<Daemon> {
        let path = place.path();
        let unreachable = |cause: String| {
            Fault::new(9, format!("daemon at {}", path.display()), cause)
                .advise("is podloomd running? --socket names another socket")
        };
        let endpoint = Endpoint::from_shared(format!("unix://{}", path.display()));
        let endpoint = endpoint.map_err(|cause| unreachable(cause.to_string()))?;
        let channel = endpoint.connect().await.map_err(|cause| unreachable(deepest(&cause)))?;
        Ok(Daemon { channel, form: place.output })
    }

    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Prints a document in the form that was asked for; `table` is what people are shown.
    pub(crate) fn print(&self, doc: &Value, table: impl FnOnce() -> String) -> Result<()> {
        match self.form {
            Form::Json => print::json(doc),
            Form::Yaml => print::yaml(doc),
            Form::Table => print::out(&table()),
        }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(crate) async fn list_containers(&self) -> Result<Vec<Container>> {
        let answer = self.runtime().list_containers(ListContainersRequest { filter: None }).await;
        Ok(answer.map_err(|status| fault("containers", &status))?.into_inner().containers)
    }

    pub(crate) async fn list_pods(&self) -> Result<Vec<PodSandbox>> {
        let answer = self.runtime().list_pod_sandbox(ListPodSandboxRequest { filter: None }).await;
        Ok(answer.map_err(|status| fault("pods", &status))?.into_inner().items)
    }

    /// The container that is meant by `name`.
    pub(crate) async fn container(&self, name: &str) -> Result<Container> {
        let all = self.list_containers().await?;
        let key = |one: &Container| (one.id.clone(), container_name(one).to_owned());
        only(name, "container", all.into_iter().map(|one| (key(&one), one)).collect())
    }

    /// The pod that is meant by `name`.
    pub(crate) async fn pod(&self, name: &str) -> Result<PodSandbox> {
        let all = self.list_pods().await?;
        let key = |one: &PodSandbox| (one.id.clone(), pod_name(one).to_owned());
        only(name, "pod", all.into_iter().map(|one| (key(&one), one)).collect())
    }

    /// The container or pod that is meant by `name`; a container if it could be either.
    pub(crate) async fn named(&self, name: &str) -> Result<Named> {
        match self.container(name).await {
            Ok(container) => Ok(Named::Container(Box::new(container))),
            Err(none) if none.is(3) => match self.pod(name).await {
                Ok(pod) => Ok(Named::Pod(Box::new(pod))),
                Err(neither) if neither.is(3) => {
                    let advice = "'podloom ps -a' and 'podloom pods' list what there is";
                    Err(Fault::new(3, name, "there is no such container or pod").advise(advice))
                }
                Err(other) => Err(other),
            },
            Err(other) => Err(other),
        }
    }
}

pub(crate) fn container_name(container: &Container) -> &str {
    container.metadata.as_ref().map_or("", |metadata| &metadata.name)
}

pub(crate) fn pod_name(pod: &PodSandbox) -> &str {
    pod.metadata.as_ref().map_or("", |metadata| &metadata.name)
}

/// The one whose ID begins with `name`, or that is called so.
fn only<T>(name: &str, what: &str, all: Vec<((String, String), T)>) -> Result<T> {
    let begins = |id: &str| !name.is_empty() && id.starts_with(name);
    let (exact, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|((id, _), _)| id == name);
    let found = if exact.is_empty() { others } else { exact };
    let mut found = found.into_iter().filter(|((id, called), _)| begins(id) || called == name);
    match (found.next(), found.next()) {
        (Some((_, one)), None) => Ok(one),
        (None, _) => Err(Fault::new(3, name, format!("there is no such {what}"))),
        (Some(((one, _), _)), Some(((other, _), _))) => {
            let cause = format!("more than one {what} is meant: {one}, {other}");
            Err(Fault::new(2, name, cause).advise("use more letters of the ID"))
        }
    }
}

/// What a failed call means for whoever asked.
pub(crate) fn fault(subject: &str, status: &Status) -> Fault {
    let code = match status.code() {
        Code::NotFound => 3,
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => 4,
        Code::DeadlineExceeded => 124,
        Code::Unavailable => 9,
        _ => 1,
    };
    Fault::new(code, subject, status.message())
}

/// The cause of causes: what the kernel said.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(name: &str) -> Result<u8> {
        let one = |id: &str, called: &str, n| ((id.to_owned(), called.to_owned()), n);
        only(name, "pod", vec![one("abc1", "web", 1), one("abd2", "web", 2), one("e3", "db", 3)])
    }

    #[test]
    fn names_and_beginnings_of_ids_are_enough_if_they_mean_one() {
        assert_eq!(pick("abc").unwrap(), 1);
        assert_eq!(pick("db").unwrap(), 3);
        assert!(pick("web").unwrap_err().is(2));
        assert!(pick("ab").unwrap_err().is(2));
        assert!(pick("x").unwrap_err().is(3));
        assert!(pick("").unwrap_err().is(3));
    }
}
