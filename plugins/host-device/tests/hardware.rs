//! Hardware moved into pods: two network cards of a virtual machine, joined by a hub. The cards are
//! the machine's own, so that this runs only where `PODLOOM_VM_NICS` says that it may have them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

use lab::{Bins, Lab, Pod, address};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

static CARDS: Mutex<()> = Mutex::new(());

/// A card by its PCI address, in the machine's first namespace.
#[derive(Clone, Debug)]
struct Card {
    pci: String,
    name: String,
}

/// Both cards, for one test at a time.
fn cards() -> Option<(Card, Card, MutexGuard<'static, ()>)> {
    if std::env::var_os("PODLOOM_VM_NICS").is_none() {
        lab::skip("the network cards of this machine are not for tests");
        return None;
    }
    let guard = CARDS.lock().unwrap_or_else(PoisonError::into_inner);
    run("modprobe", &["virtio_net"]);
    let mut found = Vec::new();
    lab::until("two cards", lab::PATIENCE, || {
        found = all();
        found.len() >= 2
    });
    Some((found[0].clone(), found[1].clone(), guard))
}

fn all() -> Vec<Card> {
    let mut cards: Vec<_> = entries(Path::new("/sys/bus/pci/devices"))
        .iter()
        .filter_map(|device| {
            let virtio = entries(device).into_iter().find(|p| last(p).starts_with("virtio"))?;
            let link = entries(&virtio.join("net")).into_iter().next()?;
            Some(Card { pci: last(device), name: last(&link) })
        })
        .collect();
    cards.sort_by(|a, b| a.pci.cmp(&b.pci));
    cards
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().expect("start");
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Runs the plugin beside the cards, in the machine's first namespace.
fn plugin(command: &str, pod: &Pod, conf: &Value) -> Value {
    let bins = Bins::ours();
    let mut child = Command::new(bins.program("host-device"))
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", pod.id())
        .env("CNI_NETNS", pod.path())
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", bins.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the plugin");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(conf.to_string().as_bytes()).expect("write the configuration");
    drop(input);
    let done = child.wait_with_output().expect("wait");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command}: {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn conf(lab: &Lab, key: &str, value: &str) -> Value {
    let mut conf = lab::lan_conf(lab, "host-device", &json!({}));
    conf[key] = json!(value);
    conf
}

#[test]
fn cards_are_found_on_their_bus_and_carry_traffic() {
    let Some((first, second, _guard)) = cards() else { return };
    let lab = Lab::new("hardware-bus");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let by_bus = conf(&lab, "pciBusID", &first.pci);
    let device = format!("/sys/bus/pci/devices/{}", second.pci);
    let path = std::fs::canonicalize(device).expect("a device");
    let virtio = entries(&path).into_iter().find(|p| last(p).starts_with("virtio"));
    let by_path = conf(&lab, "kernelpath", &virtio.expect("virtio").display().to_string());
    let result = plugin("ADD", &a, &by_bus);
    assert_eq!(result["interfaces"][0]["pciID"], json!(first.pci), "{result}");
    let other = plugin("ADD", &b, &by_path);
    assert_eq!(other["interfaces"][0]["pciID"], json!(second.pci), "{other}");
    for index in [0, 1] {
        a.ping(address(&other, index)).expect("the other card");
    }
    let mut check = by_bus.clone();
    check["prevResult"] = result;
    plugin("CHECK", &a, &check);
    plugin("DEL", &a, &by_bus);
    plugin("DEL", &b, &by_path);
    let back: Vec<_> = all().into_iter().map(|card| card.name).collect();
    assert_eq!(back, [first.name, second.name]);
}

#[test]
fn a_card_whose_pod_ended_without_del_gets_its_name_back() {
    let Some((card, _, _guard)) = cards() else { return };
    let lab = Lab::new("hardware-gone");
    for by in ["DEL", "ADD"] {
        let a = lab.pod(&format!("gone-{by}"));
        let mut conf = conf(&lab, "runtimeConfig", "");
        conf["runtimeConfig"] = json!({"deviceID": card.pci});
        plugin("ADD", &a, &conf);
        a.delete();
        lab::until("the kernel gives the card back", lab::PATIENCE, || {
            all().iter().any(|now| now.pci == card.pci)
        });
        let b = lab.pod(&format!("next-{by}"));
        if by == "ADD" {
            plugin("ADD", &b, &conf);
            plugin("DEL", &b, &conf);
        }
        plugin("DEL", &a, &conf);
        let now = all().into_iter().find(|now| now.pci == card.pci).expect("the card");
        assert_eq!(now.name, card.name, "{by}");
        assert!(lab.snapshot().matching("data/net/10.33.").is_empty(), "{by} keeps the lease");
    }
}

#[test]
fn a_card_of_a_program_in_user_space_is_only_reported() {
    let Some((card, _, _guard)) = cards() else { return };
    let lab = Lab::new("hardware-userspace");
    let a = lab.pod("a");
    let bind = |driver: &str| {
        let device = format!("/sys/bus/pci/devices/{}", card.pci);
        std::fs::write(format!("{device}/driver_override"), driver).expect("driver_override");
        std::fs::write(format!("{device}/driver/unbind"), &card.pci).expect("unbind");
        std::fs::write("/sys/bus/pci/drivers_probe", &card.pci).expect("bind");
    };
    run("modprobe", &["uio_pci_generic"]);
    bind("uio_pci_generic");
    let conf = conf(&lab, "pciBusID", &card.pci);
    let result = plugin("ADD", &a, &conf);
    let mut check = conf.clone();
    check["prevResult"] = result.clone();
    plugin("CHECK", &a, &check);
    plugin("DEL", &a, &conf);
    bind("virtio-pci");
    lab::until("the card is the kernel's again", lab::PATIENCE, || all().len() >= 2);
    let interface = json!({"name": "eth0", "pciID": card.pci, "sandbox": a.path()});
    assert_eq!(result["interfaces"][0], interface);
    assert_eq!(result["ips"][0]["interface"], 0);
    assert!(!a.has_link("eth0"));
    assert!(lab.snapshot().matching("data/net/10.33.").is_empty(), "DEL keeps the lease");
}
