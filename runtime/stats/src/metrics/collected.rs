//! Metrics as the bytes of the CRI's messages. A pod has some eighty, which repeat six labels: as values
//! they would cost hundreds of pieces of memory, which are only copied together again.

use super::table::Name;

/// Keys of fields in the messages (protobuf: field number and wire type).
const ID: u8 = 1 << 3 | LENGTH;
const METRIC: u8 = 2 << 3 | LENGTH;
const CONTAINER: u8 = 3 << 3 | LENGTH;
const NAME: u8 = 1 << 3 | LENGTH;
const TIMESTAMP: u8 = 2 << 3;
const KIND: u8 = 3 << 3;
const LABEL: u8 = 4 << 3 | LENGTH;
const VALUE: u8 = 5 << 3 | LENGTH;
const NUMBER: u8 = 1 << 3;

/// The wire type of what begins with its length.
const LENGTH: u8 = 2;

/// What a container's metrics take, in bytes, or a little less than that.
const ROOM: usize = 16 << 10;

/// The metrics of a pod or container: a `PodSandboxMetrics` or a `ContainerMetrics`, which begin alike.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    /// Nanoseconds since 1970.
    pub(super) at: i64,
    /// Fields that all metrics have.
    stamp: Vec<u8>,
    labels: Vec<u8>,
    message: Vec<u8>,
}

impl Collected {
    /// None yet, of the pod or container `id`, as measured `at`; `labels` are in the order of
    /// [`BASE`](super::table::BASE).
    pub(super) fn new(id: &str, at: i64, labels: &[&str]) -> Collected {
        let mut stamp = Vec::new();
        if at != 0 {
            stamp.push(TIMESTAMP);
            varint(at.cast_unsigned(), &mut stamp);
        }
        let mut all = Vec::new();
        labels.iter().for_each(|label| bytes(LABEL, label.as_bytes(), &mut all));
        let mut message = Vec::with_capacity(ROOM);
        bytes(ID, id.as_bytes(), &mut message);
        Collected { at, stamp, labels: all, message }
    }

    /// Adds a value with the labels beyond those that every metric has.
    pub(super) fn add(&mut self, name: Name, more: &[&str], value: u64) {
        let described = name.described();
        let kind = described.kind as i32;
        // A number that is zero is left out of its message.
        let number = if value == 0 { 0 } else { 1 + varint_length(value) };
        let named = field_length(described.name.len());
        let kinds = if kind == 0 { 0 } else { 2 };
        let labels: usize = more.iter().map(|label| field_length(label.len())).sum();
        let length = named + self.stamp.len() + kinds + self.labels.len() + labels + 2 + number;
        let out = &mut self.message;
        out.push(METRIC);
        varint(length as u64, out);
        bytes(NAME, described.name.as_bytes(), out);
        out.extend_from_slice(&self.stamp);
        if kind != 0 {
            out.extend_from_slice(&[KIND, kind.to_le_bytes()[0]]);
        }
        out.extend_from_slice(&self.labels);
        more.iter().for_each(|label| bytes(LABEL, label.as_bytes(), out));
        out.extend_from_slice(&[VALUE, number.to_le_bytes()[0]]);
        if value != 0 {
            out.push(NUMBER);
            varint(value, out);
        }
    }

    pub(super) fn add_some(&mut self, name: Name, value: Option<u64>) {
        if let Some(value) = value {
            self.add(name, &[], value);
        }
    }

    /// Adds the metrics of a container to those of its pod.
    pub(super) fn add_container(&mut self, container: &Collected) {
        bytes(CONTAINER, &container.message, &mut self.message);
    }

    /// The message.
    pub(crate) fn into_message(self) -> Vec<u8> {
        self.message
    }
}

/// A field of so many bytes, with its key and its length.
fn field_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

fn bytes(key: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(key);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Seven bits a byte, the lowest first; the highest bit of a byte says that another follows.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::super::table::{ALL, BASE};
    use super::*;
    use cri_api::v1::{ContainerMetrics, Metric, PodSandboxMetrics, UInt64Value};
    use prost::Message;

    const VALUES: [u64; 6] = [0, 1, 127, 128, 1 << 40, u64::MAX];

    fn labels(length: usize) -> Vec<String> {
        (0..BASE.len()).map(|at| format!("{at}").repeat(length)).collect()
    }

    fn metric(name: Name, at: i64, labels: Vec<String>, value: u64) -> Metric {
        Metric {
            name: name.described().name.to_owned(),
            timestamp: at,
            metric_type: name.described().kind as i32,
            label_values: labels,
            value: Some(UInt64Value { value }),
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_messages() {
        for (at, length) in
            [(0, 0), (1, 1), (1_795_000_000_000_000_000, 127), (-1, 128), (7, 20_000)]
        {
            let base = labels(length);
            let refs: Vec<&str> = base.iter().map(String::as_str).collect();
            let more = ["more".to_owned(), "x".repeat(length)];
            let mut ours = Collected::new("pod", at, &refs);
            let mut of_container = Collected::new("", at, &refs);
            let mut theirs =
                PodSandboxMetrics { pod_sandbox_id: "pod".to_owned(), ..Default::default() };
            let mut container = ContainerMetrics::default();
            for (name, value) in ALL.iter().flat_map(|name| VALUES.map(|value| (*name, value))) {
                ours.add(name, &[], value);
                theirs.metrics.push(metric(name, at, base.clone(), value));
                of_container.add(name, &[&more[0], &more[1]], value);
                let labels = base.iter().chain(&more).cloned().collect();
                container.metrics.push(metric(name, at, labels, value));
            }
            ours.add_container(&of_container);
            theirs.container_metrics.push(container);
            let message = ours.into_message();
            assert_eq!(PodSandboxMetrics::decode(message.as_slice()).unwrap(), theirs, "{at}");
            // An empty id is written, which prost leaves out; all else is the same.
            assert_eq!(message.len(), theirs.encoded_len() + 2 + longer(&theirs), "{at}");
        }
    }

    /// By how much the length of the container grows with its empty id.
    fn longer(of: &PodSandboxMetrics) -> usize {
        let length = of.container_metrics[0].encoded_len() as u64;
        varint_length(length + 2) - varint_length(length)
    }

    #[test]
    fn numbers_have_their_length() {
        for value in VALUES.into_iter().chain((0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit])) {
            let mut out = Vec::new();
            varint(value, &mut out);
            assert_eq!(out.len(), varint_length(value), "{value}");
        }
    }
}
