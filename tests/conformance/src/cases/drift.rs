//! CHECK.

use crate::{Subject, Trial};
use lab::Drift;
use serde_json::Value;

/// Each drift is named, nothing is repaired by CHECK, and DEL still works.
pub(crate) fn check_sees_each_drift(subject: &Subject) {
    for (drift, about) in subject.drifts {
        let trial = Trial::new(subject, "drift");
        let result = trial.add(&trial.a).ok();
        trial.check(&trial.a, &result).ok();
        drift.apply(&trial.lab, &trial.a.pod, subject.ifname, &result);
        let drifted = trial.state();
        let outcome = trial.check(&trial.a, &result);
        assert!(!outcome.success(), "{}: CHECK did not see {drift:?}", subject.name);
        trial.refused(&outcome, trial.own(103), about, trial.version().as_str());
        trial.refused_naming(&outcome, trial.own(103), about);
        trial.same(&drifted, &format!("CHECK after {drift:?}"));
        let deleted = trial.del(&trial.a);
        assert!(deleted.success(), "{}: after {drift:?}: {deleted}", subject.name);
        let less = matches!(drift, Drift::RulesFlushed | Drift::GatewayDeleted);
        if less {
            trial.nothing_added(&format!("{drift:?}, DEL"));
        } else if !subject.wiring.is_before() {
            trial.nothing_left(&format!("{drift:?}, DEL"));
        }
    }
}

pub(crate) fn check_needs_prev_result(subject: &Subject) {
    let trial = Trial::new(subject, "check-prev");
    trial.add(&trial.a).ok();
    let state = trial.state();
    let conf = trial.a.with("/prevResult", Value::Null);
    let outcome = trial.plugin().attachment("CHECK", &trial.a.pod, subject.ifname, &conf);
    trial.refused(&outcome, trial.own(7), "prevResult", trial.version().as_str());
    trial.same(&state, "CHECK without prevResult");
}
