//! Many pods at once, some of whose ADDs and DELs are killed: afterwards GC leaves nothing.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

use lab::{Bins, Lab, Pod};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

/// Pods at a time.
const AT_ONCE: u32 = 50;
/// One pair in so many loses its ADD or DEL to SIGKILL.
const KILL_ONE_IN: u64 = 10;
/// The kill comes within so many microseconds after the start.
const KILL_WITHIN: u64 = 25_000;

#[test]
fn a_thousand_pairs_with_nftables() {
    soak("soak-nftables", "nftables", 1000);
}

#[test]
fn two_hundred_pairs_with_iptables() {
    soak("soak-iptables", "iptables", 200);
}

fn network(lab: &Lab, backend: &str) -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
         "ipMasqBackend": backend,
         "ipam": {"type": "host-local", "dataDir": lab.data_dir(),
                  "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd88::/64"}]],
                  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
        {"type": "portmap", "backend": backend, "capabilities": {"portMappings": true}},
    ]})
}

/// What the workers share.
struct Soak {
    lab: Lab,
    /// Addresses of the pods that are attached now.
    held: Mutex<BTreeSet<IpAddr>>,
    killed: AtomicU32,
    /// Pods that a killed ADD or DEL left behind, and that nobody detached since.
    lost: Mutex<Vec<Pod>>,
}

fn soak(name: &str, backend: &str, pairs: u32) {
    let lab = Lab::new(name);
    let list = network(&lab, backend).to_string();
    std::fs::write(lab.conf_dir().join("10-net.conflist"), list).expect("a list");
    let (held, lost) = (Mutex::default(), Mutex::default());
    let soak = Soak { lab, held, killed: AtomicU32::new(0), lost };
    let warm = soak.lab.pod("warm");
    soak.must("add", &warm, 1);
    soak.must("del", &warm, 1);
    let before = soak.lab.snapshot();
    let start = Barrier::new(AT_ONCE as usize);
    std::thread::scope(|s| {
        for worker in 0..AT_ONCE {
            let (soak, start) = (&soak, &start);
            s.spawn(move || {
                let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ u64::from(worker + 1));
                let mut pod = soak.lab.pod(&format!("w{worker}"));
                start.wait();
                for round in 0..pairs / AT_ONCE {
                    pod = soak.pair(pod, worker * 100 + round, &mut dice);
                }
            });
        }
    });
    let killed = soak.killed.load(Ordering::Relaxed);
    assert!(killed > pairs / 40, "only {killed} of {pairs} pairs were killed in time");
    let lost = soak.lost.lock().expect("a lock").len();
    assert!(lost > 0, "no killed pair was left to GC");
    soak.command(&["gc", "net", "--keep-none"]);
    before.assert_same(&soak.lab.snapshot());
    assert_eq!(soak.held.lock().expect("a lock").len(), 0);
}

impl Soak {
    /// ADD and DEL of `pod`, one of which may be killed. Returns a pod for the next pair.
    fn pair(&self, pod: Pod, number: u32, dice: &mut Dice) -> Pod {
        let chosen = dice.below(KILL_ONE_IN) == 0;
        let victim = if chosen { ["add", "del"][usize::from(dice.below(2) == 1)] } else { "" };
        if victim == "add" {
            if self.killed_in_time("add", &pod, number, dice) {
                return self.after_a_kill(pod, number, dice);
            }
        } else {
            self.hold(&self.must("add", &pod, number));
        }
        self.let_go(&pod);
        if victim == "del" && self.killed_in_time("del", &pod, number, dice) {
            return self.after_a_kill(pod, number, dice);
        }
        // After a DEL that was faster than its killer this is one more, which is no fault.
        self.must("del", &pod, number);
        assert!(!pod.has_link("eth0"), "{} still has its interface", pod.id());
        pod
    }

    /// A runtime detaches what was killed, or has forgotten it: then only GC can.
    fn after_a_kill(&self, pod: Pod, number: u32, dice: &mut Dice) -> Pod {
        if dice.below(2) == 0 {
            self.must("del", &pod, number);
            return pod;
        }
        self.lost.lock().expect("a lock").push(pod);
        self.lab.pod(&format!("again{number}"))
    }

    /// Runs a verb and kills it at a random moment; false if it was done before.
    fn killed_in_time(&self, verb: &str, pod: &Pod, number: u32, dice: &mut Dice) -> bool {
        let delay = Duration::from_micros(dice.below(KILL_WITHIN));
        let mut command = self.target(verb, pod, number);
        let outcome = self.lab.node().run(|| {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().expect("start podloom");
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
            std::thread::sleep(delay);
            // Not waited for yet, so the pid is still podloom's.
            let _ = kill(pid, Signal::SIGKILL);
            // Its output ends with the last plugin that holds it.
            child.wait_with_output().expect("wait for podloom")
        });
        if outcome.status.code().is_none() {
            self.killed.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let errors = String::from_utf8_lossy(&outcome.stderr);
        assert!(outcome.status.success(), "{verb} {}: {errors}", pod.id());
        if verb == "add" {
            self.hold(&outcome.stdout);
        }
        false
    }

    fn must(&self, verb: &str, pod: &Pod, number: u32) -> Vec<u8> {
        let mut command = self.target(verb, pod, number);
        self.done(&mut command)
    }

    fn command(&self, args: &[&str]) -> Vec<u8> {
        let mut command = self.podloom();
        self.done(command.args(args))
    }

    fn done(&self, command: &mut Command) -> Vec<u8> {
        let done = self.lab.node().run(|| command.output().expect("start podloom"));
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command:?}: {errors}");
        done.stdout
    }

    fn target(&self, verb: &str, pod: &Pod, number: u32) -> Command {
        let ports = json!({"portMappings": [
            {"hostPort": 20_000 + number, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 20_000 + number, "containerPort": 80, "protocol": "udp"},
        ]});
        let mut command = self.podloom();
        command.args([verb, "net"]).arg(pod.path()).args(["--container-id", pod.id()]);
        command.args(["--output", "json", "--cap-args", &ports.to_string()]);
        command
    }

    fn podloom(&self) -> Command {
        let mut command = Command::new(lab::podloom());
        command.arg("net").arg("--conf-dir").arg(self.lab.conf_dir());
        command.arg("--plugin-dir").arg(Bins::ours().dir());
        command.arg("--cache-dir").arg(self.lab.cache_dir());
        command.arg("--run-dir").arg(self.lab.run_dir());
        command.env("PODLOOM_RUN_DIR", self.lab.run_dir()).stdin(Stdio::null());
        command
    }

    /// Notes the addresses of a result, which nobody else may have.
    fn hold(&self, result: &[u8]) {
        let result: Value = serde_json::from_slice(result).expect("a result");
        let mut held = self.held.lock().expect("a lock");
        for index in 0..2 {
            let address = lab::address(&result, index);
            assert!(held.insert(address), "{address} was given to two pods");
        }
    }

    fn let_go(&self, pod: &Pod) {
        let mut held = self.held.lock().expect("a lock");
        for text in pod.addresses("eth0") {
            let address = text.split('/').next().and_then(|a| a.parse().ok()).expect("an address");
            assert!(held.remove(&address), "{address} of {} is in no result", pod.id());
        }
    }
}

/// Random numbers that are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
