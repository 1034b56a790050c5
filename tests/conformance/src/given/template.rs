//! Configurations that differ from pod to pod.

use lab::Lab;
use serde_json::Value;

/// `template` for a pod of this node. In its texts, `${POD}` is the pod's number (0 for the verbs
/// that have no pod), and `${DATA_DIR}`, `${RUN_DIR}`, `${TMP_DIR}` are directories of the trial;
/// a text that is wholly `${8000+POD}` becomes a number. Leases of host-local are the trial's.
pub(crate) fn render(template: &Value, lab: &Lab, pod: u8) -> Value {
    let mut conf = filled(template, &|text| text_for(text, lab, pod));
    if conf["ipam"]["type"] == "host-local" {
        conf["ipam"]["dataDir"] = lab.data_dir().to_string_lossy().into_owned().into();
    }
    conf
}

/// The words of a command, filled in the same way.
pub(crate) fn command(line: &str, lab: &Lab, pod: u8) -> Vec<String> {
    line.split_whitespace().map(|word| text_for(word, lab, pod)).collect()
}

fn filled(value: &Value, text: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(raw) => match sum(raw) {
            Some(base) => text("${POD}").parse::<u64>().map_or(Value::Null, |n| (base + n).into()),
            None => text(raw).into(),
        },
        Value::Array(list) => list.iter().map(|value| filled(value, text)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), filled(value, text))).collect()
        }
        other => other.clone(),
    }
}

/// The number in `${8000+POD}`.
fn sum(text: &str) -> Option<u64> {
    text.strip_prefix("${")?.strip_suffix("+POD}")?.parse().ok()
}

fn text_for(text: &str, lab: &Lab, pod: u8) -> String {
    let dir = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    text.replace("${POD}", &pod.to_string())
        .replace("${DATA_DIR}", &dir(lab.data_dir()))
        .replace("${RUN_DIR}", &dir(lab.run_dir()))
        .replace("${TMP_DIR}", &dir(lab.tmp_dir()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_texts_are_filled_in() {
        let template =
            json!({"a": "10.0.0.${POD}/24", "b": ["${8000+POD}"], "c": 5, "d": "${X+POD}"});
        let text = |text: &str| text.replace("${POD}", "3");
        let conf = filled(&template, &text);
        assert_eq!(conf, json!({"a": "10.0.0.3/24", "b": [8003], "c": 5, "d": "${X+POD}"}));
    }
}
