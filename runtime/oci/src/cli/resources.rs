//! The limits that `update` sets: from its flags, or from a document.

use super::flags::{Flag, Given, value, value_or};
use oci::{Error, Result};
use runtime_spec::{BlockIo, Cpu, Memory, Pids, Resources};
use std::io::Read;

pub(super) const FLAGS: [Flag; 19] = [
    value_or("resources", 'r'),
    value("blkio-weight"),
    value("cpu-period"),
    value("cpu-quota"),
    value("cpu-burst"),
    value("cpu-share"),
    value("cpu-rt-period"),
    value("cpu-rt-runtime"),
    value("cpuset-cpus"),
    value("cpuset-mems"),
    value("kernel-memory"),
    value("kernel-memory-tcp"),
    value("memory"),
    value("memory-reservation"),
    value("memory-swap"),
    value("pids-limit"),
    value("cpu-idle"),
    value("l3-cache-schema"),
    value("mem-bw-schema"),
];

/// Reads the wish.
pub(super) fn read(given: &Given) -> Result<Resources> {
    if let Some(path) = given.get("resources").filter(|path| !path.is_empty()) {
        return document(path);
    }
    for name in ["l3-cache-schema", "mem-bw-schema"] {
        if given.get(name).is_some_and(|schema| !schema.is_empty()) {
            let cause = "is not supported: resctrl groups of a running container stay as they are";
            return Err(Error::new(oci::Kind::Unsupported, format!("--{name}"), cause));
        }
    }
    let text = |name: &str| given.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let memory = Memory {
        limit: bytes(given, "memory")?,
        reservation: bytes(given, "memory-reservation")?,
        swap: bytes(given, "memory-swap")?,
        kernel_tcp: bytes(given, "kernel-memory-tcp")?,
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: given.number("cpu-share")?,
        quota: given.number("cpu-quota")?,
        burst: given.number("cpu-burst")?,
        period: given.number("cpu-period")?,
        realtime_runtime: given.number("cpu-rt-runtime")?,
        realtime_period: given.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: given.number("cpu-idle")?,
    };
    let weight: Option<u16> = given.number("blkio-weight")?;
    let pids: Option<i64> = given.number("pids-limit")?;
    Ok(Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: pids.map(|limit| Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    })
}

fn document(path: &str) -> Result<Resources> {
    let fail =
        |error: std::io::Error| Error::invalid(format!("--resources {path}"), error.to_string());
    let bound = runtime_spec::DOCUMENT_MAX as u64 + 1;
    let mut text = Vec::new();
    if path == "-" {
        std::io::stdin().take(bound).read_to_end(&mut text).map_err(fail)?;
    } else {
        std::fs::File::open(path)
            .map_err(fail)?
            .take(bound)
            .read_to_end(&mut text)
            .map_err(fail)?;
    }
    Ok(Resources::from_json(&text)?)
}

/// A number of bytes, with `k`, `m`, `g` or `t` for powers of 1024.
fn bytes(given: &Given, name: &str) -> Result<Option<i64>> {
    let Some(text) = given.get(name).map(str::trim) else { return Ok(None) };
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, shift) = match digits.as_bytes().last() {
        Some(b'k') => (&digits[..digits.len() - 1], 10),
        Some(b'm') => (&digits[..digits.len() - 1], 20),
        Some(b'g') => (&digits[..digits.len() - 1], 30),
        Some(b't') => (&digits[..digits.len() - 1], 40),
        _ => (digits, 0),
    };
    let value = number.parse::<i64>().ok().and_then(|n| n.checked_mul(1 << shift));
    let wrong = || Error::invalid(format!("--{name} {text:?}"), "is no number of bytes");
    value.map(Some).ok_or_else(wrong)
}
