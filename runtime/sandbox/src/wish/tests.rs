use super::*;
use cri_api::v1::{DnsConfig, LinuxPodSandboxConfig, PortMapping, Protocol};

fn settings() -> Settings {
    let mut settings = Settings::new("/shim".into());
    settings.networks.additional = vec!["storage".to_owned()];
    settings.networks.on_request = vec!["fast".to_owned()];
    settings.networks.addresses_on_request = true;
    settings
}

fn config() -> PodSandboxConfig {
    let text = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
    let annotation = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "web".to_owned(),
            namespace: "shop".to_owned(),
            uid: "1-2-3".to_owned(),
            attempt: 4,
        }),
        hostname: "web-0.shop".to_owned(),
        dns_config: Some(DnsConfig {
            servers: text(&["10.0.0.10"]),
            searches: text(&["shop.svc"]),
            options: text(&["ndots:5"]),
        }),
        port_mappings: vec![
            PortMapping {
                protocol: Protocol::Udp.into(),
                container_port: 53,
                host_port: 5353,
                host_ip: "::1".to_owned(),
            },
            PortMapping { container_port: 80, ..PortMapping::default() },
        ],
        annotations: [
            ("kubernetes.io/ingress-bandwidth", "1.5M"),
            ("kubernetes.io/egress-bandwidth", "2Gi"),
            ("podloom.dev/networks", "fast@net7, fast"),
            ("podloom.dev/ips", "10.0.0.7, fd00::7/64"),
            ("podloom.dev/mac", "02:00:00:00:00:07"),
        ]
        .map(annotation)
        .into(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/pod1/".to_owned(),
            ..LinuxPodSandboxConfig::default()
        }),
        ..PodSandboxConfig::default()
    }
}

#[test]
fn plugins_are_told_what_the_pod_asks_for() {
    let wish = Wish::parse(config(), "", &settings()).expect("valid");
    let mut told = Value::Object(wish.capabilities.clone());
    let annotations = told["io.kubernetes.cri.pod-annotations"].take();
    assert_eq!(annotations["podloom.dev/mac"], "02:00:00:00:00:07");
    assert_eq!(
        told,
        json!({
            "portMappings": [
                {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "::1"},
            ],
            "bandwidth": {
                "ingressRate": 1_500_000, "ingressBurst": i32::MAX,
                "egressRate": 2_u64 << 30, "egressBurst": i32::MAX,
            },
            "dns": {"servers": ["10.0.0.10"], "searches": ["shop.svc"], "options": ["ndots:5"]},
            "ips": ["10.0.0.7", "fd00::7/64"],
            "mac": "02:00:00:00:00:07",
            "cgroupPath": "/kubepods/pod1",
            "io.kubernetes.cri.pod-annotations": null,
        })
    );
    let args: Vec<_> = wish.cni_args("id").into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        args.join(";"),
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=id;\
         K8S_POD_UID=1-2-3"
    );
}

#[test]
fn interfaces_are_named_in_order() {
    let wish = Wish::parse(config(), "", &settings()).expect("valid");
    let names: Vec<_> =
        wish.networks.iter().map(|n| format!("{} {}", n.network, n.ifname)).collect();
    assert_eq!(names, ["storage eth1", "fast net7", "fast eth3"]);
}

#[test]
fn a_pod_on_the_nodes_network_has_no_networks_and_no_name() {
    use cri_api::v1::{LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption};
    let mut config = config();
    let options = NamespaceOption { network: NamespaceMode::Node.into(), ..Default::default() };
    let security = LinuxSandboxSecurityContext {
        namespace_options: Some(options),
        ..LinuxSandboxSecurityContext::default()
    };
    config.linux.get_or_insert_default().security_context = Some(security);
    let wish = Wish::parse(config, "", &settings()).expect("valid");
    assert!(wish.networks.is_empty() && wish.capabilities.is_empty());
    assert_eq!(wish.hostname, None);
    assert_eq!(wish.spaces.of_shim(), ["ipc", "pid"]);
}

#[test]
fn sysctls_may_be_written_with_dots_or_slashes() {
    let mut config = config();
    let linux = config.linux.get_or_insert_default();
    for key in ["net/ipv4/conf/eth0.7/arp_notify", "net.ipv4.tcp_syncookies", "kernel.sem"] {
        linux.sysctls.insert(key.to_owned(), "1 2".to_owned());
    }
    let wish = Wish::parse(config, "", &settings()).expect("valid");
    let keys: Vec<_> = wish.sysctls.iter().map(|s| s.key.as_str()).collect();
    assert_eq!(keys, ["kernel.sem", "net.ipv4.conf.eth0/7.arp_notify", "net.ipv4.tcp_syncookies"]);
}
