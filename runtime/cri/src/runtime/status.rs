//! Status: whether pods can be run, and what this runtime can do.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{
    RuntimeCondition, RuntimeFeatures, RuntimeHandler, RuntimeStatus, StatusRequest, StatusResponse,
};
use std::collections::{BTreeSet, HashMap};

pub(super) async fn serve(cri: &Cri, request: StatusRequest) -> Result<StatusResponse> {
    let (runtime, network) = tokio::join!(runtime(cri), network(cri));
    let conditions = vec![runtime, network];
    let info = if request.verbose { info(cri) } else { HashMap::new() };
    Ok(StatusResponse {
        status: Some(RuntimeStatus { conditions }),
        info,
        runtime_handlers: handlers(cri),
        features: Some(RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: false,
        }),
    })
}

/// A condition; one with a reason does not hold.
fn condition(kind: &str, reason: &str, message: &str) -> RuntimeCondition {
    RuntimeCondition {
        r#type: kind.to_owned(),
        status: reason.is_empty(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

async fn runtime(cri: &Cri) -> RuntimeCondition {
    match cri.pods().runtime_status().await {
        Ok(()) => condition("RuntimeReady", "", ""),
        Err(e) => condition("RuntimeReady", "PodsCannotBeMade", &e.to_string()),
    }
}

async fn network(cri: &Cri) -> RuntimeCondition {
    match cri.pods().network_status().await {
        Ok(()) => condition("NetworkReady", "", ""),
        Err(e) => condition("NetworkReady", "NetworkPluginNotReady", &e.to_string()),
    }
}

/// The handler without a name is the default one.
fn handlers(cri: &Cri) -> Vec<RuntimeHandler> {
    let mut names: BTreeSet<&str> = BTreeSet::from([""]);
    names.extend(cri.pods().settings().handlers.keys().map(String::as_str));
    let features = crate::kernel::features();
    let handler = |name: &str| RuntimeHandler { name: name.to_owned(), features: Some(features) };
    names.into_iter().map(handler).collect()
}

fn info(cri: &Cri) -> HashMap<String, String> {
    let pulls: Vec<String> =
        cri.images().under_way().iter().map(|pull| pull.subject.clone()).collect();
    let shown = serde_json::json!({
        "pods": cri.pods().list().len(),
        "containers": cri.containers().list().len(),
        "pulls": pulls,
    });
    HashMap::from([
        ("config".to_owned(), cri.settings().shown_config.clone()),
        ("now".to_owned(), shown.to_string()),
    ])
}
