//! Which files a configuration's limits are, by the trees that a group is in.

use crate::error::{Error, Kind, Result};
use crate::layout::Version;
use crate::paths::Paths;
use crate::step::Step;
use crate::{plan_v1, plan_v2};
use runtime_spec::Resources;

/// All writes. In a hybrid layout the v2 tree may have controllers that no v1 tree has (hugetlb is
/// a common one): their limits are set there.
pub(crate) fn steps(paths: &Paths, resources: &Resources) -> Result<Vec<Step>> {
    let v1 = paths.places.iter().any(|p| p.version == Version::V1);
    match (v1, paths.v2().is_some()) {
        (false, _) => plan_v2::plan(resources),
        (true, false) => plan_v1::plan(resources),
        (true, true) => hybrid(paths, resources),
    }
}

fn hybrid(paths: &Paths, resources: &Resources) -> Result<Vec<Step>> {
    let mut old = resources.clone();
    let files = std::mem::take(&mut old.unified);
    let mut new = Resources { unified: files, ..old.clone() };
    // Budgets that v2 lacks are v1's, which refuses them if it must.
    if let Some(cpu) = &mut new.cpu {
        (cpu.realtime_period, cpu.realtime_runtime) = (None, None);
    }
    let on_v1 = |name: &str| paths.v1(if name == "io" { "blkio" } else { name }).is_some();
    let only_v1 = |name: &str| matches!(name, "net_cls" | "net_prio");
    let mut steps = plan_v1::plan(&old)?;
    steps.retain(|s| on_v1(s.controller) || only_v1(s.controller));
    for step in plan_v2::plan(&new)? {
        let named = step.file.split('.').next().unwrap_or("");
        match step.controller {
            "" if on_v1(named) => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format_args!("unified {:?}", step.file),
                    "on this machine the controller is one of cgroup v1",
                ));
            }
            name if name.is_empty() || !on_v1(name) => steps.push(step),
            _ => {}
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::RelPath;
    use crate::paths::Place;

    fn paths(v1: &[&str], v2: bool) -> Paths {
        let place = |controllers: Vec<String>, version| Place {
            mount: "/m".into(),
            path: RelPath::parse("a").unwrap(),
            version,
            controllers,
            made: 0,
        };
        let mut places: Vec<_> =
            v1.iter().map(|c| place(vec![(*c).to_owned()], Version::V1)).collect();
        places.extend(v2.then(|| place(Vec::new(), Version::V2)));
        Paths { places, ..Paths::default() }
    }

    fn files(paths: &Paths, json: &str) -> Result<Vec<String>> {
        let steps = steps(paths, &serde_json::from_str(json).unwrap())?;
        Ok(steps.into_iter().map(|s| s.file).collect())
    }

    #[test]
    fn hybrid_sets_each_limit_where_its_controller_is() {
        let json = r#"{"cpu": {"shares": 2, "realtimePeriod": 9}, "blockIO": {"weight": 10},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "network": {"classID": 1},
            "unified": {"misc.max": "x 1"}}"#;
        let got = files(&paths(&["cpu", "blkio"], true), json).unwrap();
        assert_eq!(
            got,
            [
                "cpu.shares",
                "cpu.rt_period_us",
                "blkio.weight",
                "net_cls.classid",
                "hugetlb.2MB.max",
                "hugetlb.2MB.rsvd.max",
                "misc.max"
            ]
        );
        let unified = r#"{"unified": {"cpu.weight": "1"}}"#;
        let error = files(&paths(&["cpu"], true), unified).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(files(&paths(&[], true), unified).unwrap(), ["cpu.weight"]);
        assert!(files(&paths(&["cpu"], false), unified).is_err());
    }
}
