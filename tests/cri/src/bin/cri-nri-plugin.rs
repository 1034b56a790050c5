//! A plugin of the node resource interface, for tests: it notes what it hears, and does what its
//! behaviour says.
//!
//! Started by a test it takes its name, index, socket, behaviour and the file for its notes as arguments;
//! started by podloomd it has name and socket from the environment, behaviour and file from its
//! configuration.

#![allow(clippy::expect_used, clippy::panic, reason = "a test's program fails the test")]

use nri::link::{Answer, Link, Serve, Side};
use nri::v1alpha1 as v1;
use nri::wire::{Status, code};
use prost::Message;
use prost::bytes::Bytes;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// How long the runtime may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Plugin {
    name: String,
    doing: Mutex<Doing>,
    /// The socket, past all order.
    raw: Mutex<UnixStream>,
    link: OnceLock<Link>,
}

#[derive(Clone, Debug, Default)]
struct Doing {
    behaviour: String,
    notes: String,
}

impl Plugin {
    fn doing(&self) -> Doing {
        self.doing.lock().expect("not poisoned").clone()
    }

    fn note(&self, line: &str) {
        let notes = OpenOptions::new().create(true).append(true).open(self.doing().notes);
        notes.and_then(|mut file| writeln!(file, "{line}")).expect("notes");
    }

    /// The configuration of one that podloomd started: behaviour and file, with a space between.
    fn configure(&self, request: &v1::ConfigureRequest) {
        if let Some((behaviour, notes)) = request.config.trim().split_once(' ') {
            let doing = Doing { behaviour: behaviour.to_owned(), notes: notes.to_owned() };
            *self.doing.lock().expect("not poisoned") = doing;
        }
        self.note(&format!("Configure {}", request.runtime_name));
    }

    fn synchronize(&self, request: v1::SynchronizeRequest) -> v1::SynchronizeResponse {
        let pods = request.pods.iter().map(|pod| pod.name.clone());
        let containers = request.containers.iter().map(|container| container.name.clone());
        let mut all: Vec<_> = pods.chain(containers).collect();
        all.sort();
        self.note(format!("Synchronize {}", all.join(" ")).trim_end());
        if self.doing().behaviour == "slow" {
            std::thread::sleep(Duration::from_millis(1500));
        }
        if self.doing().behaviour == "limit" {
            self.limit(request.containers);
        }
        v1::SynchronizeResponse { update: Vec::new(), more: request.more }
    }

    /// Sets limits of all containers without being asked.
    fn limit(&self, containers: Vec<v1::Container>) {
        let cpu = v1::LinuxCpu {
            shares: Some(v1::OptionalUInt64 { value: 77 }),
            ..v1::LinuxCpu::default()
        };
        let resources = v1::LinuxResources { cpu: Some(cpu), ..v1::LinuxResources::default() };
        let known = containers.into_iter().map(|container| container.id);
        let update = known
            .chain(["no-such-container".to_owned()])
            .map(|container_id| v1::ContainerUpdate {
                container_id,
                linux: Some(v1::LinuxContainerUpdate { resources: Some(resources.clone()) }),
                ignore_failure: false,
            })
            .collect();
        let request = v1::UpdateContainersRequest { update, evict: Vec::new() };
        let link = self.link.get().expect("a link").clone();
        let failed = tokio::task::block_in_place(|| {
            let asked =
                link.call::<_, v1::UpdateContainersResponse>("UpdateContainers", &request, LIMIT);
            tokio::runtime::Handle::current().block_on(asked).expect("an answer").failed
        });
        let failed: Vec<_> = failed.into_iter().map(|update| update.container_id).collect();
        self.note(&format!("failed {}", failed.join(" ")));
    }

    fn create(&self) -> Result<v1::CreateContainerResponse, Status> {
        match self.doing().behaviour.as_str() {
            "refuse" => return Err(Status::new(code::UNKNOWN, "does not like it")),
            "hang" => std::thread::sleep(Duration::from_secs(60)),
            "die" => std::process::exit(1),
            "garbage" => {
                self.raw.lock().expect("not poisoned").write_all(&[0xff; 4096]).expect("written");
                std::thread::sleep(Duration::from_secs(60));
            }
            "oversize" => {
                let mut claim = vec![0, 0, 0, 1, 0, 0, 0, 10];
                claim.extend([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 2, 0]);
                self.raw.lock().expect("not poisoned").write_all(&claim).expect("written");
                std::thread::sleep(Duration::from_secs(60));
            }
            "adjust" => return Ok(adjustment(&self.name)),
            _ => {}
        }
        Ok(v1::CreateContainerResponse::default())
    }
}

fn adjustment(name: &str) -> v1::CreateContainerResponse {
    let variable =
        |key: &str, value: &str| v1::KeyValue { key: key.to_owned(), value: value.to_owned() };
    let cpu =
        v1::LinuxCpu { shares: Some(v1::OptionalUInt64 { value: 123 }), ..Default::default() };
    let adjust = v1::ContainerAdjustment {
        annotations: [(format!("{name}.example.com"), "seen".to_owned())].into(),
        env: vec![variable("ADJUSTED_BY", name), variable("-FROM_IMAGE", "")],
        mounts: vec![v1::Mount {
            destination: "/adjusted".to_owned(),
            r#type: "tmpfs".to_owned(),
            source: "tmpfs".to_owned(),
            options: vec!["size=64k".to_owned()],
        }],
        rlimits: vec![v1::PosixRlimit { r#type: "RLIMIT_CORE".to_owned(), hard: 7, soft: 7 }],
        linux: Some(v1::LinuxContainerAdjustment {
            resources: Some(v1::LinuxResources { cpu: Some(cpu), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    v1::CreateContainerResponse { adjust: Some(adjust), ..Default::default() }
}

/// The server of a plugin.
struct Server(Arc<Plugin>);

impl Serve for Server {
    fn serve(&self, method: &str, payload: Bytes) -> Answer {
        let (plugin, method) = (self.0.clone(), method.to_owned());
        Box::pin(async move {
            match method.as_str() {
                "Configure" => {
                    plugin.configure(&v1::ConfigureRequest::decode(payload).expect("request"));
                    Ok(v1::ConfigureResponse { events: 0 }.encode_to_vec())
                }
                "Synchronize" => {
                    let request = v1::SynchronizeRequest::decode(payload).expect("request");
                    Ok(plugin.synchronize(request).encode_to_vec())
                }
                "Shutdown" => {
                    plugin.note("Shutdown");
                    Ok(Vec::new())
                }
                "CreateContainer" => {
                    let request = v1::CreateContainerRequest::decode(payload).expect("request");
                    note_of(&plugin, &method, request.pod, request.container);
                    plugin.create().map(|answer| answer.encode_to_vec())
                }
                // As plugins that are older than these.
                "StartContainer" | "UpdateContainer" | "ValidateContainerAdjustment" => {
                    Err(Status::new(code::UNIMPLEMENTED, "not known"))
                }
                "StateChange" => {
                    let request = v1::StateChangeEvent::decode(payload).expect("request");
                    let event = request.event().as_str_name();
                    note_of(&plugin, event, request.pod, request.container);
                    Ok(Vec::new())
                }
                other => {
                    // All have the pod first, and then the container.
                    let request = v1::PostCreateContainerRequest::decode(payload).expect("request");
                    note_of(&plugin, other, request.pod, request.container);
                    match (other, plugin.doing().behaviour.as_str()) {
                        ("RunPodSandbox", "refuse-pod") => {
                            Err(Status::new(code::UNKNOWN, "does not like it"))
                        }
                        _ => Ok(Vec::new()),
                    }
                }
            }
        })
    }
}

fn note_of(
    plugin: &Plugin,
    what: &str,
    pod: Option<v1::PodSandbox>,
    container: Option<v1::Container>,
) {
    let pod = pod.map(|pod| pod.name).unwrap_or_default();
    let container = container.map(|container| container.name).unwrap_or_default();
    plugin.note(format!("{what} {pod} {container}").trim_end());
}

/// Name, index, behaviour, notes, and the socket.
fn begin() -> (String, String, Doing, UnixStream) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [name, index, socket, behaviour, notes] = args.as_slice() {
        let stream = UnixStream::connect(socket).expect("connected");
        let doing = Doing { behaviour: behaviour.clone(), notes: notes.clone() };
        return (name.clone(), index.clone(), doing, stream);
    }
    let of = |key: &str| std::env::var(key).unwrap_or_else(|_| panic!("{key} is not set"));
    assert_eq!(of("NRI_PLUGIN_SOCKET"), "0");
    let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().expect("a socket");
    (of("NRI_PLUGIN_NAME"), of("NRI_PLUGIN_IDX"), Doing::default(), UnixStream::from(socket))
}

#[tokio::main]
async fn main() {
    let (name, index, doing, stream) = begin();
    let silent = doing.behaviour == "silent";
    let raw = Mutex::new(stream.try_clone().expect("a second end"));
    let plugin = Arc::new(Plugin {
        name: name.clone(),
        doing: Mutex::new(doing),
        raw,
        link: OnceLock::new(),
    });
    stream.set_nonblocking(true).expect("a socket of tokio");
    let stream = tokio::net::UnixStream::from_std(stream).expect("a socket of tokio");
    let link = Link::new(stream, Side::Plugin, Arc::new(Server(plugin.clone())));
    plugin.link.set(link.clone()).expect("the first");
    if !silent {
        let request = v1::RegisterPluginRequest {
            plugin_name: name,
            plugin_idx: index,
            nri_version: String::new(),
        };
        link.call::<_, v1::Empty>("RegisterPlugin", &request, LIMIT).await.expect("registered");
    }
    let why = link.closed().await;
    if silent || !plugin.doing().notes.is_empty() {
        plugin.note(&format!("closed: {why}"));
    }
}
