//! A node with pods on a bridge and a host beyond it, and what passes between them in a second.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs; a test's helper fails the test"
)]

use lab::{Bins, Lab, Ns, Outside, Pod};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An address of the host beyond that is in no list of networks of these tests.
pub const OTHER: &str = "198.51.100.7";
/// The counter of what an interface of pods and hosts has received.
pub const RECEIVED: Counter<'static> = Counter::Received("eth0");
const MEGABIT: f64 = 1e6;
const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);
const ATTEMPTS: u32 = 5;

pub struct Stage {
    pub lab: Lab,
    pub outside: Outside,
}

impl Stage {
    /// A node, if iperf3 is installed.
    pub fn new(name: &str) -> Option<Stage> {
        if Command::new("iperf3").arg("-v").output().is_err() {
            lab::skip("iperf3 is not installed");
            return None;
        }
        let lab = Lab::new(name);
        let outside = lab.outside("outside", &["192.0.2.0/24", "2001:db8::/64"]);
        // A second address of the host, in another network.
        outside.ip(&format!("addr add {OTHER}/32 dev lo"));
        let link = outside.node_link().to_owned();
        lab.node().ip(&format!("route add {OTHER}/32 dev {link} via 192.0.2.2"));
        single(&outside);
        Some(Stage { lab, outside })
    }

    /// A pod on a bridge, with the result of the bridge plugin.
    pub fn pod(&self, name: &str) -> (Pod, Value) {
        let pod = self.lab.pod(name);
        let result = self.lab.plugin("bridge").add(&pod, "eth0", &self.bridge()).ok();
        single(&pod);
        (pod, result)
    }

    /// What the host beyond sends to a pod.
    pub fn ingress<'a>(&'a self, pod: &'a Pod, result: &Value) -> Flow<'a> {
        let address = lab::address(result, 0);
        Flow { from: &self.outside, to: pod, address, source: None, counter: RECEIVED }
    }

    /// What a pod sends to the host beyond.
    pub fn egress<'a>(&'a self, pod: &'a Pod) -> Flow<'a> {
        let address = self.outside.address(0);
        Flow { from: pod, to: &self.outside, address, source: None, counter: RECEIVED }
    }

    pub fn bridge(&self) -> Value {
        json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0",
            "isGateway": true, "ipam": {"type": "host-local", "dataDir": self.lab.data_dir(),
            "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd00:9::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}})
    }

    pub fn run(&self, verb: &str, pod: &Pod, conf: &Value) -> lab::Outcome {
        self.lab.plugin("bandwidth").attachment(verb, pod, "eth0", conf)
    }

    pub fn run_of(&self, bins: &Bins, verb: &str, pod: &Pod, conf: &Value) -> lab::Outcome {
        self.lab.plugin_of(bins, "bandwidth").attachment(verb, pod, "eth0", conf)
    }

    /// Names of the node's ifbs.
    pub fn ifbs(&self) -> Vec<String> {
        links(self.lab.node(), "ifb")
    }
}

/// Makes `eth0` send each packet by itself: those that go together are counted with one header.
pub fn single(space: &Ns) {
    space.ip("link set eth0 gso_max_segs 1");
}

/// Names of links of a kind.
pub fn links(space: &Ns, kind: &str) -> Vec<String> {
    let list = space.ip_json(&format!("link show type {kind}"));
    let names = list.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
    names.map(str::to_owned).collect()
}

/// A configuration with `keys`, behind a plugin with this result.
pub fn conf(keys: &Value, result: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bandwidth",
        "capabilities": {"bandwidth": true}, "prevResult": result});
    for (key, value) in keys.as_object().expect("keys") {
        conf[key] = value.clone();
    }
    conf
}

/// A TCP connection of iperf3, and where what arrives of it is counted.
pub struct Flow<'a> {
    pub from: &'a Ns,
    pub to: &'a Ns,
    /// The receiver's address.
    pub address: IpAddr,
    /// The sender's address, where it has several.
    pub source: Option<&'a str>,
    /// Where it is counted.
    pub counter: Counter<'a>,
}

/// A counter of bytes.
#[derive(Clone, Copy)]
pub enum Counter<'a> {
    /// What a link of the receiver has received.
    Received(&'a str),
    /// What a link of the receiver has sent; an ifb counts there what it lets pass.
    Sent(&'a str),
}

impl Flow<'_> {
    /// Bits that arrived in each of `count` seconds while the connection was busy, by the counter of
    /// the receiver's interface: the times of a program that waits for a processor are not the
    /// kernel's. The first second begins with the first packets.
    pub fn seconds(&self, count: usize) -> Vec<f64> {
        // One at a time: they would take the processor from each other.
        static BUSY: Mutex<()> = Mutex::new(());
        let _alone = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
        let mut receiver = iperf(self.to, &["-s", "-1"]);
        lab::until("iperf3 listens", PATIENCE, || listens(self.to));
        let time = (count + 2).to_string();
        let address = self.address.to_string();
        let mut words = vec!["-c", &address, "-t", &time];
        words.extend(self.source.iter().flat_map(|source| ["-B", source]));
        let mut sender = iperf(self.from, &words);
        let marks = self.to.run(|| marks(self.counter, count));
        for child in [&mut sender, &mut receiver] {
            child.kill().expect("end iperf3");
            child.wait().expect("end of iperf3");
        }
        let bits = |pair: &[(Instant, u64)]| {
            let bytes = u32::try_from(pair[1].1 - pair[0].1).expect("a second's bytes");
            f64::from(bytes) * 8.0 / (pair[1].0 - pair[0].0).as_secs_f64()
        };
        marks.windows(2).map(bits).collect()
    }

    /// Demands that no second is more than 5 % above `rate`, and that in one of some attempts none is
    /// more than 5 % below: a machine with other work to do may not fill the link each time.
    #[track_caller]
    pub fn assert_near(&self, rate: u32, what: &str) {
        let rate = f64::from(rate);
        let mut all = Vec::new();
        for _ in 0..ATTEMPTS {
            let seconds = self.seconds(3);
            let shown: Vec<_> = seconds.iter().map(|b| format!("{:.2}", b / MEGABIT)).collect();
            all.push(shown.join(", "));
            let above = seconds.iter().any(|bits| bits / rate > 1.05);
            assert!(!above, "{what}: {} Mbit/s, not {}", all.join("; "), rate / MEGABIT);
            if seconds.iter().all(|bits| bits / rate > 0.95) {
                return;
            }
        }
        panic!("{what}: {} Mbit/s, not {}", all.join("; "), rate / MEGABIT);
    }

    /// Demands that the first second is beyond `rate`, by far.
    #[track_caller]
    pub fn assert_beyond(&self, rate: u32, what: &str) {
        let seconds = self.seconds(1);
        assert!(seconds[0] > 3.0 * f64::from(rate), "{what}: {} Mbit/s", seconds[0] / MEGABIT);
    }
}

/// When how much was counted: before the first packets, and a second after each mark.
fn marks(counter: Counter<'_>, count: usize) -> Vec<(Instant, u64)> {
    /// More than iperf3 says before it sends.
    const TALK: u64 = 4000;
    let begun = Instant::now();
    let mut now = (begun, counter.bytes());
    let idle = now.1;
    let mut marks = Vec::new();
    while marks.len() <= count {
        let last = now;
        std::thread::sleep(Duration::from_millis(1));
        now = (Instant::now(), counter.bytes());
        match marks.last() {
            None if now.1 > idle + TALK => marks.push(last),
            Some((time, _)) if now.0 - *time >= SECOND => marks.push(now),
            _ => {}
        }
        assert!(begun.elapsed() < PATIENCE, "iperf3 does not send");
    }
    marks
}

impl Counter<'_> {
    /// What it is at, in the calling thread's namespace.
    fn bytes(self) -> u64 {
        let (link, column) = match self {
            Counter::Received(link) => (link, 0),
            Counter::Sent(link) => (link, 8),
        };
        let table = std::fs::read_to_string("/proc/thread-self/net/dev").expect("counters");
        let line = table.lines().find_map(|line| line.trim().strip_prefix(link)?.strip_prefix(':'));
        let bytes = line.and_then(|line| line.split_whitespace().nth(column)?.parse().ok());
        bytes.unwrap_or_else(|| panic!("no counter of {link}: {table}"))
    }
}

/// Whether something listens at iperf3's port.
fn listens(space: &Ns) -> bool {
    let table = |family: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{family}"));
    space.run(|| {
        let tables = [table("tcp"), table("tcp6")].map(|table| table.expect("sockets"));
        tables.iter().flat_map(|table| table.lines()).any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (local, state) = (words.next().unwrap_or_default(), words.nth(1));
            local.ends_with(":1451") && state == Some("0A")
        })
    })
}

/// Goes before other work of the machine: a sender that waits for a processor does not fill a link.
fn iperf(space: &Ns, args: &[&str]) -> Child {
    space.run(|| {
        Command::new("nice")
            .args(["-n", "-15", "iperf3"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("iperf3")
    })
}
