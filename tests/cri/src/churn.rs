//! Clients that make and remove pods without an end while the daemon is killed under them.
//!
//! They do what kubelet does: a call that the daemon's end cut off is repeated as it was. What the
//! repetition may answer is what is tested: a pod and a container of an earlier attempt are handed
//! over, never doubled, never refused.

use crate::{Chance, Client, Way, container, pod, port};
use cri_api::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// How long one call may take, with its repetitions, before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// After so many repetitions of a call its client is starved: no kill until it has its answer.
const STARVED: u64 = 20;

/// How often is looked whether the daemon serves.
const TICK: Duration = Duration::from_millis(5);

/// First of the node's ports that pods of the clients have, one of each client.
const FIRST_PORT: u64 = 20_000;

/// What the daemon's killer tells the clients.
#[derive(Debug, Default)]
pub struct Moments {
    kills: AtomicU64,
    pods: AtomicU64,
    starved: AtomicU64,
    serves: AtomicBool,
    over: AtomicBool,
}

impl Moments {
    /// The daemon is about to be killed.
    pub fn kill(&self) {
        self.serves.store(false, Ordering::SeqCst);
        self.kills.fetch_add(1, Ordering::SeqCst);
    }

    /// The daemon answers.
    pub fn serve(&self) {
        self.serves.store(true, Ordering::SeqCst);
    }

    /// Pods that came and went so far.
    pub fn pods(&self) -> u64 {
        self.pods.load(Ordering::SeqCst)
    }

    /// Whether a client has been cut off so often that it is to be let finish.
    pub fn is_client_starved(&self) -> bool {
        self.starved.load(Ordering::SeqCst) > 0
    }

    /// No more pods are to be begun.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Waits until the daemon answers; how often it was killed before.
    async fn served(&self) -> u64 {
        loop {
            let kills = self.kills.load(Ordering::SeqCst);
            if self.serves.load(Ordering::SeqCst) && self.kills.load(Ordering::SeqCst) == kills {
                return kills;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn killed_since(&self, kills: u64) -> bool {
        self.kills.load(Ordering::SeqCst) != kills
    }
}

/// What was done, for whoever reads the test's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Pods that came and went.
    pub pods: u64,
    /// Containers whose exit code was the right one.
    pub exits: u64,
    /// Calls that were repeated because the daemon was killed.
    pub repeated: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Done) {
        self.pods += other.pods;
        self.exits += other.exits;
        self.repeated += other.repeated;
    }
}

/// Lets `clients` churn pods with containers of `image` until [`Moments::end`]. What they did.
///
/// # Panics
/// When a call fails for another reason than the daemon's end, or is stuck; when an exit code is not
/// the container's.
pub fn churn(way: &Way, (clients, image): (u64, &str), moments: &Arc<Moments>) -> Done {
    way.run(async |_: &mut Client| {
        let local = tokio::task::LocalSet::new();
        let tasks: Vec<_> = (0..clients)
            .map(|number| {
                let (client, moments) = (way.client(), moments.clone());
                let (image, chance) = (image.to_owned(), Chance::of(number + 1));
                let mut one =
                    Churner { client, moments, image, chance, number, done: Done::default() };
                local.spawn_local(async move {
                    let mut round = 0;
                    while !one.moments.is_over() {
                        round += 1;
                        one.life(round).await;
                    }
                    one.done
                })
            })
            .collect();
        local
            .run_until(async {
                let mut done = Done::default();
                for task in tasks {
                    done +=
                        task.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
                }
                done
            })
            .await
    })
}

/// One client.
struct Churner {
    client: Client,
    moments: Arc<Moments>,
    image: String,
    chance: Chance,
    number: u64,
    done: Done,
}

/// A refusal that has nothing to do with the daemon's end, and how often the call was repeated.
type Refused = (Status, u64);

impl Churner {
    /// Asks until there is an answer.
    async fn call<T>(
        &mut self,
        what: &str,
        mut ask: impl AsyncFnMut(&mut Client) -> Result<T, Status>,
    ) -> Result<T, Refused> {
        let begun = Instant::now();
        let mut repeated = 0;
        loop {
            let kills = self.moments.served().await;
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let answer = tokio::time::timeout(left, ask(&mut self.client)).await;
            let answer = answer.unwrap_or_else(|_| {
                panic!("client {}: {what} is stuck, repeated {repeated} times", self.number)
            });
            let answered = match answer {
                Ok(answer) => Ok(answer),
                Err(status) if !self.moments.killed_since(kills) => Err((status, repeated)),
                Err(_) => {
                    repeated += 1;
                    self.done.repeated += 1;
                    if repeated == STARVED {
                        self.moments.starved.fetch_add(1, Ordering::SeqCst);
                    }
                    continue;
                }
            };
            if repeated >= STARVED {
                self.moments.starved.fetch_sub(1, Ordering::SeqCst);
            }
            return answered;
        }
    }

    /// As [`Churner::call`], of what must not be refused.
    async fn get<T>(
        &mut self,
        what: &str,
        ask: impl AsyncFnMut(&mut Client) -> Result<T, Status>,
    ) -> T {
        match self.call(what, ask).await {
            Ok(answer) => answer,
            Err((status, repeated)) => panic!(
                "client {}: {what}, repeated {repeated} times: {:?}: {}",
                self.number,
                status.code(),
                status.message()
            ),
        }
    }

    /// A pod comes, has containers, and goes.
    async fn life(&mut self, round: u64) {
        let mut of = pod(&format!("churn-{}-{round}", self.number));
        let host = i32::try_from(FIRST_PORT + self.number).expect("a port");
        of.port_mappings = vec![port(host, 80)];
        let of = &of;
        let id =
            self.get("RunPodSandbox", async |client: &mut Client| client.run_pod(of).await).await;
        let id = id.as_str();
        let answer =
            self.get("PodSandboxStatus", async |client: &mut Client| client.pod(id).await).await;
        let status = answer.status.expect("status");
        assert_eq!(status.state(), v1::PodSandboxState::SandboxReady, "{id}: {:?}", answer.info);
        assert!(!status.network.expect("network").ip.is_empty());
        for number in 0..self.chance.below(3) {
            let code = i32::try_from(1 + self.chance.below(99)).expect("a code");
            self.run(&format!("c{number}"), (id, of), code).await;
        }
        if self.chance.below(2) == 0 {
            self.get("StopPodSandbox", async |client: &mut Client| client.stop_pod(id).await).await;
        }
        self.get("RemovePodSandbox", async |client: &mut Client| client.remove_pod(id).await).await;
        self.done.pods += 1;
        self.moments.pods.fetch_add(1, Ordering::SeqCst);
    }

    /// A container runs for a moment, and ends with its code.
    async fn run(&mut self, name: &str, (pod, of): (&str, &v1::PodSandboxConfig), code: i32) {
        let script = format!("sleep 0.{:02}; exit {code}", self.chance.below(30));
        let config = container(name, &self.image, &script);
        let create = async |client: &mut Client| client.create(pod, &config, of).await;
        let id = self.get("CreateContainer", create).await;
        let id = id.as_str();
        match self.call("StartContainer", async |client: &mut Client| client.start(id).await).await
        {
            Ok(()) => {}
            // It was started when the daemon was killed, before that was told.
            Err((status, 1..)) if status.code() == Code::FailedPrecondition => {}
            Err((status, repeated)) => {
                panic!("client {}: {id}: start, {repeated}: {status:?}", self.number)
            }
        }
        let begun = Instant::now();
        let ended = loop {
            let status = self
                .get("ContainerStatus", async |client: &mut Client| client.container(id).await)
                .await;
            if status.state() == v1::ContainerState::ContainerExited {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "{id} does not end: {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let told = (ended.exit_code, ended.reason.as_str());
        assert_eq!(told, (code, "Error"), "client {}: {id}: {}", self.number, ended.message);
        assert!(ended.started_at > 0 && ended.finished_at >= ended.started_at, "{ended:?}");
        self.done.exits += 1;
        if self.chance.below(2) == 0 {
            self.get("RemoveContainer", async |client: &mut Client| client.remove(id).await).await;
        }
    }
}
