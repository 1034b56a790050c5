//! How long pods take to be made, stopped and removed: `cargo run --release -p sandbox --example
//! latency [ROUNDS] [AT ONCE]`, with the release builds of plugins and shim in
//! `PODLOOM_CNI_BIN_DIR` and `PODLOOM_BIN_DIR`. Bridge, host-local, portmap; a node of its own.
//! With `STEPS=1` it tells when each step of the last pod came.

#![allow(clippy::print_stdout, reason = "it prints a table")]

use cri_api::v1::{PodSandboxConfig, PodSandboxMetadata, PortMapping};
use sandbox::{Networks, Sandboxes, Settings};
use serde_json::json;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Notes when each step comes.
struct Steps(Arc<Mutex<Vec<(Instant, String)>>>);

impl tracing::Subscriber for Steps {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("sandbox")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
                if field.name() != "pod" {
                    self.0.push_str(&format!("{}={value:?} ", field.name()));
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), text.0));
    }

    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Prints the steps since the last pod was begun.
fn print_steps(steps: &[(Instant, String)]) {
    let begin = steps.iter().rposition(|(_, text)| text.contains("writing its record"));
    let last = &steps[begin.unwrap_or_default()..];
    let mut before = last.first().map_or_else(Instant::now, |(at, _)| *at);
    for (at, text) in last {
        println!("{:8.3} ms  {text}", (*at - before).as_secs_f64() * 1000.0);
        before = *at;
    }
}

/// Rounds that are not counted.
const WARM: usize = 3;

fn pod(number: usize) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: format!("p{number}"),
            namespace: "default".to_owned(),
            uid: format!("u{number}"),
            attempt: 0,
        }),
        hostname: format!("p{number}"),
        port_mappings: vec![PortMapping {
            container_port: 80,
            host_port: 20_000 + i32::try_from(number % 10_000).unwrap_or_default(),
            ..PortMapping::default()
        }],
        ..PodSandboxConfig::default()
    }
}

fn settings(root: &Path) -> Settings {
    Settings {
        run_dir: root.join("run"),
        state_dir: root.join("state"),
        netns_dir: root.join("netns"),
        networks: Networks {
            conf_dir: root.join("conf"),
            plugin_dirs: vec![lab::Bins::ours().dir().to_owned()],
            cache_dir: root.join("cache"),
            ..Networks::default()
        },
        ..Settings::new(lab::podloom_shim())
    }
}

/// Run, stop and remove of one pod.
async fn life(pods: &Sandboxes, number: usize) -> Outcome<[Duration; 3]> {
    let begin = Instant::now();
    let id = pods.run(pod(number), "").await?;
    let made = begin.elapsed();
    let begin = Instant::now();
    pods.stop(&id).await?;
    let stopped = begin.elapsed();
    let begin = Instant::now();
    pods.remove(&id).await?;
    Ok([made, stopped, begin.elapsed()])
}

async fn measure(root: &Path, rounds: usize, at_once: usize) -> Outcome<Vec<[Duration; 3]>> {
    let (pods, _) = Sandboxes::open(settings(root)).await?;
    pods.drain().await;
    for number in 0..WARM {
        life(&pods, number).await?;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..at_once {
        let pods = pods.clone();
        tasks.spawn(async move {
            let mut figures = Vec::new();
            for round in 0..rounds.div_ceil(at_once) {
                figures.push(life(&pods, WARM + lane * rounds + round).await?);
            }
            Outcome::Ok(figures)
        });
    }
    let mut all = Vec::new();
    while let Some(figures) = tasks.join_next().await {
        all.extend(figures??);
    }
    pods.drain().await;
    Ok(all)
}

fn main() -> Outcome<()> {
    let number = |at: usize, usual: usize| {
        std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (rounds, at_once) = (number(1, 100), number(2, 1));
    let lab = lab::Lab::new("latency");
    let list = json!({"cniVersion": "1.1.0", "name": "podnet", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "dataDir": lab.data_dir(),
            "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
    ]});
    std::fs::write(lab.conf_dir().join("10-podnet.conflist"), list.to_string())?;
    let steps = Arc::new(Mutex::new(Vec::new()));
    if std::env::var_os("STEPS").is_some() {
        tracing::subscriber::set_global_default(Steps(steps.clone()))?;
    }
    let begin = Instant::now();
    let figures = lab.node().run(|| -> Outcome<_> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build()?;
        runtime.block_on(measure(lab.root(), rounds, at_once))
    })?;
    println!("{} pods, {at_once} at once, {:.2?} in all", figures.len(), begin.elapsed());
    for (index, name) in ["run", "stop", "remove"].into_iter().enumerate() {
        let mut times: Vec<_> = figures.iter().map(|f| f[index].as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        let part = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!("{name:8} p50 {:6.2}  p90 {:6.2}  p99 {:6.2} ms", part(50), part(90), part(99));
    }
    print_steps(&steps.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}
