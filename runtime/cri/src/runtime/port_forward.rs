//! PortForward: a URL at which a client is connected to ports of a pod.

use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{PortForwardRequest, PortForwardResponse};
use sandbox::State;
use streaming::PortForward;

pub(super) async fn serve(cri: &Cri, request: PortForwardRequest) -> Result<PortForwardResponse> {
    let pod = cri.pods().get(&request.pod_sandbox_id)?;
    if pod.state() != State::Ready {
        let subject = format!("pod {:?}", pod.id());
        return Err(
            sandbox::Error::new(sandbox::Kind::Precondition, subject, "is not ready").into()
        );
    }
    let mut ports = Vec::with_capacity(request.port.len());
    for port in request.port {
        let valid = u16::try_from(port).ok().filter(|port| *port > 0);
        let Some(port) = valid else {
            return Err(Refusal::invalid("port", &format!("{port}: want 1 to 65535")));
        };
        ports.push(port);
    }
    let forward = PortForward { pod: pod.id().to_owned(), ports };
    Ok(PortForwardResponse { url: cri.streaming().port_forward_url(forward)? })
}
