//! Limits by control groups, and the score for the out-of-memory killer.

use crate::{Error, Kind, Result};
use cri_api::v1::LinuxContainerResources;
use runtime_spec::{Cpu, HugepageLimit, Memory, Resources};

/// What the node can do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Control groups of version 2 alone.
    pub(crate) unified: bool,
    /// Swap is counted.
    pub(crate) swap: bool,
    /// The lowest score that this process may give, where it lacks CAP_SYS_RESOURCE.
    pub(crate) lowest_score: Option<i32>,
}

/// What is asked, as limits; fields that are zero or empty say nothing.
///
/// # Errors
/// A number is out of range, or the node has no such limit.
pub(crate) fn resources(asked: &LinuxContainerResources, node: Limits) -> Result<Resources> {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let cpu = Cpu {
        shares: unsigned("cpu_shares", asked.cpu_shares)?,
        quota: Some(asked.cpu_quota).filter(|quota| *quota != 0),
        period: unsigned("cpu_period", asked.cpu_period)?,
        cpus: text(&asked.cpuset_cpus),
        mems: text(&asked.cpuset_mems),
        ..Cpu::default()
    };
    let limit = Some(asked.memory_limit_in_bytes).filter(|limit| *limit != 0);
    let swap = Some(asked.memory_swap_limit_in_bytes).filter(|limit| *limit != 0);
    let memory = Memory {
        limit,
        // Who limits memory and says nothing of swap wants none.
        swap: swap.or(limit).filter(|_| node.swap),
        ..Memory::default()
    };
    if !asked.unified.is_empty() && !node.unified {
        let e = Error::new(Kind::Invalid, "unified", "this node has control groups of version 1");
        return Err(e.with_advice("leave the field empty, or boot with cgroup v2 alone"));
    }
    let pages = asked.hugepage_limits.iter();
    Ok(Resources {
        cpu: Some(cpu).filter(|cpu| *cpu != Cpu::default()),
        memory: Some(memory).filter(|memory| *memory != Memory::default()),
        hugepage_limits: pages
            .map(|l| HugepageLimit { page_size: l.page_size.clone(), limit: l.limit })
            .collect(),
        unified: asked.unified.clone().into_iter().collect(),
        ..Resources::default()
    })
}

fn unsigned(field: &str, value: i64) -> Result<Option<u64>> {
    let cause = || format!("{value} is negative");
    let number = u64::try_from(value).map_err(|_| Error::new(Kind::Invalid, field, cause()))?;
    Ok(Some(number).filter(|number| *number != 0))
}

/// The score that is asked for, or the lowest that may be given.
///
/// # Errors
/// It is out of range.
pub(crate) fn oom_score(asked: &LinuxContainerResources, node: Limits) -> Result<i32> {
    let score = i32::try_from(asked.oom_score_adj).ok().filter(|s| (-1000..=1000).contains(s));
    let Some(score) = score else {
        let cause = format!("{} is not in -1000 to 1000", asked.oom_score_adj);
        return Err(Error::new(Kind::Invalid, "oom_score_adj", cause));
    };
    Ok(node.lowest_score.map_or(score, |lowest| score.max(lowest)))
}

/// `was` with the fields of `update` that say something put over it.
pub(crate) fn merged(
    was: &LinuxContainerResources,
    update: &LinuxContainerResources,
) -> LinuxContainerResources {
    let number = |was: i64, new: i64| if new == 0 { was } else { new };
    let text = |was: &String, new: &String| if new.is_empty() { was } else { new }.clone();
    let mut unified = was.unified.clone();
    unified.extend(update.unified.clone());
    LinuxContainerResources {
        cpu_period: number(was.cpu_period, update.cpu_period),
        cpu_quota: number(was.cpu_quota, update.cpu_quota),
        cpu_shares: number(was.cpu_shares, update.cpu_shares),
        memory_limit_in_bytes: number(was.memory_limit_in_bytes, update.memory_limit_in_bytes),
        oom_score_adj: number(was.oom_score_adj, update.oom_score_adj),
        cpuset_cpus: text(&was.cpuset_cpus, &update.cpuset_cpus),
        cpuset_mems: text(&was.cpuset_mems, &update.cpuset_mems),
        hugepage_limits: match update.hugepage_limits.is_empty() {
            true => was.hugepage_limits.clone(),
            false => update.hugepage_limits.clone(),
        },
        unified,
        memory_swap_limit_in_bytes: number(
            was.memory_swap_limit_in_bytes,
            update.memory_swap_limit_in_bytes,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Limits = Limits { unified: true, swap: true, lowest_score: None };

    #[test]
    fn what_is_zero_is_not_set() {
        let none = resources(&LinuxContainerResources::default(), NODE).expect("limits");
        assert_eq!(none, Resources::default());
        let asked = LinuxContainerResources {
            cpu_quota: -1,
            cpu_shares: 2,
            memory_limit_in_bytes: 1 << 20,
            ..LinuxContainerResources::default()
        };
        let limits = resources(&asked, NODE).expect("limits");
        let cpu = limits.cpu.expect("processor");
        assert_eq!((cpu.quota, cpu.shares, cpu.period), (Some(-1), Some(2), None));
        let memory = limits.memory.expect("memory");
        assert_eq!((memory.limit, memory.swap), (Some(1 << 20), Some(1 << 20)));
        let no_swap = resources(&asked, Limits { swap: false, ..NODE }).expect("limits");
        assert_eq!(no_swap.memory.expect("memory").swap, None);
        let wrong = LinuxContainerResources { cpu_period: -1, ..asked };
        assert_eq!(resources(&wrong, NODE).expect_err("negative").kind(), Kind::Invalid);
    }

    #[test]
    fn files_of_version_2_are_refused_elsewhere() {
        let mut asked = LinuxContainerResources::default();
        asked.unified.insert("memory.oom.group".to_owned(), "1".to_owned());
        assert_eq!(resources(&asked, NODE).expect("limits").unified["memory.oom.group"], "1");
        let refused = resources(&asked, Limits { unified: false, ..NODE });
        assert_eq!(refused.expect_err("version 1").kind(), Kind::Invalid);
    }

    #[test]
    fn a_score_is_in_range_and_possible() {
        let asked = |oom_score_adj| LinuxContainerResources { oom_score_adj, ..Default::default() };
        assert_eq!(oom_score(&asked(-998), NODE).ok(), Some(-998));
        let lenient = Limits { lowest_score: Some(0), ..NODE };
        assert_eq!(oom_score(&asked(-998), lenient).ok(), Some(0));
        assert_eq!(oom_score(&asked(500), lenient).ok(), Some(500));
        assert!(oom_score(&asked(1001), lenient).is_err());
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let was = LinuxContainerResources {
            cpu_shares: 10,
            cpuset_cpus: "0".to_owned(),
            ..Default::default()
        };
        let update = LinuxContainerResources { cpu_shares: 20, cpu_quota: 5, ..Default::default() };
        let now = merged(&was, &update);
        assert_eq!((now.cpu_shares, now.cpu_quota, now.cpuset_cpus.as_str()), (20, 5, "0"));
    }
}
