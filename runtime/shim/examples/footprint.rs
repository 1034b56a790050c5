//! What a shim costs: `cargo run --release -p shim --example footprint [SHIMS]`, with the release
//! build of podloom-shim in `PODLOOM_BIN_DIR`, as root. Each shim holds one container that sleeps.

#![allow(clippy::print_stdout, reason = "it prints a table")]

use serde_json::{Value, json};
use shim_client::protocol::{Create, Log, MakeNamespaces, Runtime, Stdio};
use shim_client::{Descriptors, Shim, Spawn};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Long enough for a shim to give its memory back.
const IDLE: Duration = Duration::from_secs(2);

fn config(rootfs: &Path, pod: &Path) -> Value {
    let of_pod = |kind, path: PathBuf| json!({"type": kind, "path": path});
    let namespaces = [
        json!({"type": "pid"}),
        json!({"type": "mount"}),
        of_pod("ipc", pod.join("ns/ipc")),
        of_pod("uts", pod.join("ns/uts")),
        of_pod("network", pod.join("net")),
    ];
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": rootfs},
        "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "sleep", "600"],
            "env": ["PATH=/bin"]},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
        "linux": {"namespaces": namespaces},
    })
}

/// Times of one kind, in milliseconds.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn add(&mut self, began: Instant) {
        self.0.push(began.elapsed().as_secs_f64() * 1e3);
    }

    fn print(mut self, name: &str) {
        self.0.sort_by(f64::total_cmp);
        let at = |share: f64| self.0[(self.0.len() as f64 * share) as usize];
        let (best, half, most) = (at(0.0), at(0.5), at(0.99));
        println!("{name:16} best {best:7.3} ms   p50 {half:7.3} ms   p99 {most:7.3} ms");
    }
}

struct Bench {
    dir: PathBuf,
    program: PathBuf,
    times: [Times; 5],
}

const NAMES: [&str; 5] = ["spawn", "namespaces", "create", "start", "exec to exit"];

impl Bench {
    fn new() -> Outcome<Bench> {
        let dir = std::env::temp_dir().join(format!("podloom-footprint-{}", std::process::id()));
        for name in ["bin", "proc", "dev"] {
            std::fs::create_dir_all(dir.join("rootfs").join(name))?;
        }
        std::fs::copy("/bin/busybox", dir.join("rootfs/bin/busybox"))?;
        let bins = std::env::var("PODLOOM_BIN_DIR")?;
        let program = Path::new(&bins).join("podloom-shim");
        Ok(Bench { dir, program, times: Default::default() })
    }

    async fn pod(&mut self, number: usize) -> Outcome<Shim> {
        let dir = self.dir.join(number.to_string());
        let spawn = Spawn {
            program: self.program.clone(),
            dir: dir.clone(),
            id: number.to_string(),
            cgroup: None,
            oom_score_adj: None,
        };
        let began = Instant::now();
        let shim = Shim::spawn(&spawn).await?;
        self.times[0].add(began);
        let began = Instant::now();
        let net = Some(dir.join("net"));
        let wanted = MakeNamespaces { net, ipc: true, uts: true, ..MakeNamespaces::default() };
        shim.make_namespaces(&wanted).await?;
        self.times[1].add(began);
        let bundle = dir.join("bundle");
        std::fs::create_dir(&bundle)?;
        let config = config(&self.dir.join("rootfs"), &dir);
        std::fs::write(bundle.join("config.json"), config.to_string())?;
        let log = Log { path: dir.join("log"), ..Log::default() };
        let stdio = Stdio { log: Some(log), ..Stdio::default() };
        let create = Create { id: "c".to_owned(), bundle, runtime: Runtime::default(), stdio };
        let began = Instant::now();
        shim.create(&create).await?;
        self.times[2].add(began);
        let began = Instant::now();
        shim.start("c").await?;
        self.times[3].add(began);
        let process = json!({"cwd": "/", "args": ["/bin/busybox", "true"], "env": []});
        let began = Instant::now();
        shim.exec("c", "e", process, Descriptors::default()).await?.wait().await?;
        self.times[4].add(began);
        Ok(shim)
    }
}

/// A hundred processes at once, and a container that writes 100 MB.
async fn work(shim: &Shim) -> Outcome<()> {
    let process = |text: &str| {
        json!({"cwd": "/", "env": ["PATH=/bin"],
        "args": ["/bin/busybox", "sh", "-c", text]})
    };
    let mut all = Vec::new();
    for number in 0..100 {
        let (shim, process) = (shim.clone(), process("busybox true"));
        all.push(tokio::spawn(async move {
            let name = format!("w{number}");
            shim.exec("c", &name, process, Descriptors::default()).await?.wait().await
        }));
    }
    for one in all {
        one.await??;
    }
    let writes = process("exec busybox seq 1 14000000 > /proc/1/fd/1");
    let began = Instant::now();
    let exit = shim.exec("c", "writes", writes, Descriptors::default()).await?.wait().await?;
    let size = std::fs::metadata(shim.dir().join("log"))?.len();
    println!("{size} bytes of log in {:?}, status {}", began.elapsed(), exit.code);
    Ok(())
}

/// Resident and proportional size of a process, in KiB, and how much of the latter is its own.
fn sizes(pid: i32) -> Outcome<[u64; 3]> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    Ok([field("Rss:"), field("Pss:"), field("Pss_Anon:")])
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let count = std::env::args().nth(1).map_or(Ok(20), |word| word.parse())?;
    let mut bench = Bench::new()?;
    let mut shims = Vec::new();
    for number in 0..count {
        shims.push(bench.pod(number).await?);
    }
    tokio::time::sleep(IDLE).await;
    let mut sum = [0; 3];
    for shim in &shims {
        for (sum, size) in sum.iter_mut().zip(sizes(shim.about().pid)?) {
            *sum += size;
        }
    }
    let [rss, pss, own] = sum.map(|sum| sum as f64 / count as f64);
    println!(
        "{count} shims, each: RSS {rss:.0} KiB, PSS {pss:.0} KiB, of it {own:.0} KiB not shared"
    );
    for (times, name) in bench.times.into_iter().zip(NAMES) {
        times.print(name);
    }
    if let Some(shim) = shims.first() {
        work(shim).await?;
        tokio::time::sleep(IDLE).await;
        let [rss, pss, own] = sizes(shim.about().pid)?;
        println!("after work: RSS {rss} KiB, PSS {pss} KiB, of it {own} KiB not shared");
    }
    for shim in shims {
        let net = shim.dir().join("net");
        shim.shutdown(true).await?;
        shim_client::unpin(shim.dir(), Some(&net))?;
    }
    std::fs::remove_dir_all(&bench.dir)?;
    Ok(())
}
