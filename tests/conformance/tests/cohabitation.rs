//! Nodes on which podloom's plugins and the reference's meet: a switch of the package in either
//! direction must strand nobody.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

use cni_types::Version;
use conformance::{Member, Subject, Trial, subjects};
use lab::{Bins, Outcome, Plugin, Snapshot};
use serde_json::Value;
use std::time::Instant;

/// One meeting: who attaches, who takes over, in the highest version that both speak.
struct Meeting<'s> {
    trial: Trial<'s>,
    first: Bins,
    second: Bins,
    version: Version,
    before: Snapshot,
}

impl<'s> Meeting<'s> {
    fn new(subject: &'s Subject, first: &Bins, second: &Bins, version: Version) -> Meeting<'s> {
        let trial = Trial::new(subject, "cohabit");
        let before = trial.lab.snapshot();
        let (first, second) = (first.clone(), second.clone());
        let mut meeting = Meeting { trial, first, second, version, before };
        // Each has its own chains and tables that stay; both are there before the meeting.
        for bins in [meeting.first.clone(), meeting.second.clone()] {
            let (plugin, conf) = (meeting.plugin(&bins), meeting.conf(&meeting.trial.b));
            plugin.add(&meeting.trial.b.pod, subject.ifname, &conf).ok();
            plugin.del(&meeting.trial.b.pod, subject.ifname, &conf).ok();
        }
        meeting.before = meeting.trial.lab.snapshot();
        meeting
    }

    fn plugin(&self, bins: &Bins) -> Plugin<'_> {
        self.trial.lab.plugin_of(bins, self.trial.subject.plugin)
    }

    fn conf(&self, member: &Member) -> Value {
        member.of_version(self.version)
    }

    fn add(&self, member: &Member) -> Value {
        let (ifname, conf) = (self.trial.subject.ifname, self.conf(member));
        self.plugin(&self.first).add(&member.pod, ifname, &conf).ok()
    }

    fn check(&self, bins: &Bins, member: &Member, result: &Value) {
        let (ifname, conf) = (self.trial.subject.ifname, self.conf(member));
        let outcome = self.plugin(bins).check(&member.pod, ifname, &conf, result);
        assert!(outcome.success(), "{} of {}'s: {outcome}", bins.name(), self.first.name());
    }

    /// DEL by the second, as libcni calls it: with the result of ADD.
    fn del(&self, member: &Member, result: &Value) -> Outcome {
        let mut conf = self.conf(member);
        conf["prevResult"] = result.clone();
        self.plugin(&self.second).del(&member.pod, self.trial.subject.ifname, &conf)
    }

    fn nothing_left(&self, after: &str) {
        let who = format!(
            "{}, {} then {}",
            self.trial.subject.name,
            self.first.name(),
            self.second.name()
        );
        let diff = self.before.diff(&self.trial.lab.snapshot());
        // The state directory holds podloom's own record, which the next GC of podloom takes.
        let diff =
            if self.second.name() == "podloom" { diff } else { diff.without(&["file: run/"]) };
        // Debian 12's host-device leaves the alias on the device that it gives back.
        let diff = match self.trial.subject.plugin {
            "host-device" if self.second.name() == "reference" => diff.without(&["link: dev1 "]),
            _ => diff,
        };
        assert!(diff.is_empty(), "{who}: {after}:\n{diff}");
    }
}

/// ADD by the first, CHECK by both, DEL by the second; again with the namespace gone.
fn handed_over(subject: &Subject, first: &Bins, second: &Bins, version: Version) {
    let meeting = Meeting::new(subject, first, second, version);
    let result = meeting.add(&meeting.trial.a);
    if version.has_check() && !is_faulty(subject, first, second, version) {
        meeting.check(first, &meeting.trial.a, &result);
        meeting.check(second, &meeting.trial.a, &result);
    }
    meeting.del(&meeting.trial.a, &result).ok();
    meeting.nothing_left("ADD, CHECK, DEL");
    if subject.plugin == "host-device" {
        assert!(meeting.trial.lab.node().has_link("dev1"), "the device is not back");
        // Debian 12's fails DEL of what is gone.
        if first.name() == "reference" {
            return;
        }
    }
    // What the first sees of it is an attachment that is gone: it takes that, too.
    let (ifname, conf) = (subject.ifname, meeting.conf(&meeting.trial.a));
    meeting.plugin(first).del(&meeting.trial.a.pod, ifname, &conf).ok();
    meeting.nothing_left("ADD, DEL by both");
}

/// Debian 12's portmap fails CHECK for every configuration that has rules of one family only; its vrf
/// loses the interface's routes, which CHECK of podloom notices; its tuning does not know `txQLen`, nor
/// `IFNAME` when it checks.
fn is_faulty(subject: &Subject, first: &Bins, second: &Bins, version: Version) -> bool {
    let reference = first.name() == "reference" || second.name() == "reference";
    matches!(subject.plugin, "portmap" | "vrf" | "tuning") && reference && version < Version::V1_1_0
}

/// GC by podloom frees what the reference left of a pod whose namespace is gone, and keeps what
/// is valid. The reference collects nothing, so that this has one direction only.
fn collected(subject: &Subject, reference: &Bins, version: Version) {
    // Its rules name no pod: its own tests show when they are taken for dead.
    if subject.plugin == "firewall" {
        return;
    }
    let ours = Bins::ours();
    let meeting = Meeting::new(subject, reference, &ours, version);
    let kept = meeting.add(&meeting.trial.b);
    let with_b = meeting.trial.lab.snapshot();
    let lost = meeting.trial.member("lost", 6);
    meeting.add(&lost);
    lost.pod.delete();
    if subject.wiring.is_before() {
        // What a namespace has that is not quite gone may still be in use.
        let node = meeting.trial.lab.node();
        lab::until("the kernel takes the links", lab::PATIENCE * 3, || !node.has_link("hand6"));
    }
    let both = [(meeting.trial.b.pod.id(), subject.ifname)];
    let plugin = meeting.plugin(&ours);
    plugin.gc(&meeting.trial.conf(), &both).ok();
    let start = Instant::now();
    loop {
        let left = with_b.diff(&meeting.trial.lab.snapshot());
        if left.is_empty() {
            break;
        }
        // The kernel takes the namespace's links in its own time.
        assert!(
            start.elapsed() < lab::PATIENCE,
            "{}: GC of the reference's:\n{left}",
            subject.name
        );
    }
    if !is_faulty(subject, reference, &ours, version) {
        meeting.check(&ours, &meeting.trial.b, &kept);
    }
    meeting.del(&meeting.trial.b, &kept).ok();
    meeting.nothing_left("GC, DEL");
}

/// The newest version that the reference speaks, of those that a runtime may write down.
fn version_of(reference: &Bins, lab: &lab::Lab) -> Version {
    let answer = lab.plugin_of(reference, "bridge").version("1.0.0").ok();
    let newest = answer["supportedVersions"].as_array().and_then(|l| l.last()?.as_str());
    newest.and_then(|v| Version::parse(v).ok()).unwrap_or(Version::V0_4_0)
}

/// Runs one of the meetings, where there is a reference that knows the subject.
fn with_reference(subject: &Subject, run: impl Fn(&Subject, &Bins, Version)) {
    let Some(reference) = lab::reference() else { return };
    if !subject.kernel.is_empty() && !lab::kernel_makes(subject.kernel) {
        return;
    }
    if !reference.program(subject.plugin).is_file() {
        return lab::skip(&format!("the reference plugins have no {} here", subject.plugin));
    }
    let version = version_of(&reference, &lab::Lab::new("version"));
    // The nftables backends came to the reference with its 1.6 and 1.7; so did CNI 1.1.0.
    if subject.name.ends_with("nftables") && version < Version::V1_1_0 {
        return lab::skip("the reference plugins installed here have no nftables backend");
    }
    run(subject, &reference, version);
}

macro_rules! meet {
    ($($subject:ident),+ $(,)?) => {$(
        mod $subject {
            use super::*;

            #[test]
            fn podloom_takes_over() {
                with_reference(&subjects::$subject(), |subject, reference, version| {
                    handed_over(subject, reference, &Bins::ours(), version);
                });
            }

            #[test]
            fn the_reference_takes_over() {
                with_reference(&subjects::$subject(), |subject, reference, version| {
                    handed_over(subject, &Bins::ours(), reference, version);
                });
            }

            #[test]
            fn podloom_collects() {
                with_reference(&subjects::$subject(), |subject, reference, version| {
                    collected(subject, reference, version);
                });
            }
        }
    )+};
}

meet!(
    bridge_v4,
    bridge_masq_iptables,
    bridge_masq_nftables,
    ptp_v4,
    ptp_masq_iptables,
    ptp_masq_nftables,
    host_local_dual,
    portmap_iptables,
    portmap_nftables,
    tuning_all,
    bandwidth_both,
    firewall_iptables,
    sbr,
    macvlan_dual,
    ipvlan_dual,
    vlan_dual,
    dummy_dual,
    host_device_dual,
    tap_dual,
    vrf,
    flannel_dual,
);
