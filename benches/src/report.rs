//! Tables for people, JSON for programs.
#![allow(clippy::print_stdout, reason = "this program's output is its use")]

use crate::cni::cost::Costs;
use crate::error::{About, Error, Result};
use crate::options::Options;
use crate::race::{Kind, Row, Scenario};
use crate::stats::Summary;
use crate::targets::{Bound, Verdict};
use serde_json::{Value, json};
use std::path::Path;

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct All {
    pub(crate) done: Vec<Scenario>,
    pub(crate) costs: Costs,
    pub(crate) verdicts: Vec<Verdict>,
}

/// One scenario as a table.
pub(crate) fn print_scenario(scenario: &Scenario) {
    println!("\n## {}", scenario.title);
    for note in &scenario.notes {
        println!("\n{note}");
    }
    if scenario.rows.is_empty() {
        return;
    }
    let rounds = scenario.rows.iter().filter_map(|r| r.series.summary()).map(|s| s.count).max();
    println!("\n{} measurements each, in milliseconds\n", rounds.unwrap_or(0));
    println!(
        "| verb | contestant | least | p50 | p95 | p99 | mean | |\n|---|---|---|---|---|---|---|---|"
    );
    for row in &scenario.rows {
        let Summary { min, p50, p95, p99, mean, .. } = match row.series.summary() {
            Some(summary) => summary,
            None => {
                println!("| {} | {} | | | | | | {} |", row.verb, row.contestant, failures(row));
                continue;
            }
        };
        let [min, p50, p95, p99, mean] =
            [min, p50, p95, p99, mean].map(|s| format!("{:.2}", s * 1e3));
        let remarks = remarks(scenario, row).join("; ");
        let Row { verb, contestant, .. } = row;
        println!("| {verb} | {contestant} | {min} | {p50} | {p95} | {p99} | {mean} | {remarks} |");
    }
}

/// A scenario that could not run.
pub(crate) fn print_failure(error: &Error) {
    println!("\nnot measured: {error}");
}

fn failures(row: &Row) -> String {
    let cause = row.first_failure.as_deref().unwrap_or_default();
    let short: String = cause.chars().take(160).collect();
    format!("failed {} times: {}", row.failures, short.replace('|', "/"))
}

fn remarks(scenario: &Scenario, row: &Row) -> Vec<String> {
    let mut remarks = Vec::new();
    for compare in scenario.compare.iter().filter(|c| c.of == row.contestant) {
        if let Some(ratio) = scenario.ratio(compare, &row.verb) {
            let against = &compare.against;
            remarks.push(match compare.kind {
                Kind::Speed => format!("{ratio:.1}x as fast as {against}"),
                Kind::Cost => format!("{ratio:.2}x the time of {against}"),
            });
        }
    }
    if row.failures > 0 {
        remarks.push(failures(row));
    }
    remarks
}

/// Processes, memory and sizes.
pub(crate) fn print_costs(costs: &Costs) {
    if !costs.calls.is_empty() {
        println!("\n## processes and memory of one call\n");
        println!(
            "| scenario | verb | contestant | programs run | processes | threads | largest resident set, KiB |"
        );
        println!("|---|---|---|---|---|---|---|");
    }
    let mut calls: Vec<_> = costs.calls.iter().collect();
    calls.sort_by_key(|call| (call.scenario.clone(), call.verb.as_str()));
    for call in calls {
        let (scenario, verb, team, t) = (&call.scenario, call.verb, call.team, call.tally);
        println!(
            "| {scenario} | {verb} | {team} | {} | {} | {} | {} |",
            t.execs, t.processes, t.threads, t.max_rss_kib
        );
    }
    if !costs.sizes.is_empty() {
        println!("\n## program files, KiB\n\n| plugin | contestant | size |\n|---|---|---|");
    }
    let mut sizes: Vec<_> = costs.sizes.iter().collect();
    sizes.sort_by_key(|size| size.plugin);
    for size in sizes {
        println!("| {} | {} | {} |", size.plugin, size.team, size.bytes >> 10);
    }
}

/// The targets and whether they are met.
pub(crate) fn print_verdicts(verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    println!("\n## targets\n\n| target | wanted | measured | |\n|---|---|---|---|");
    for verdict in verdicts {
        let wanted = match verdict.bound {
            Bound::AtLeast(least) => format!("at least {least}"),
            Bound::AtMost(most) => format!("at most {most}"),
        };
        let got = verdict.got.map_or_else(String::new, |got| format!("{got:.2}"));
        let word = match verdict.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        println!("| {} | {wanted} | {got} | {word} |", verdict.what);
    }
}

/// Writes everything to `path`.
pub(crate) fn write_json(path: &Path, options: &Options, all: &All) -> Result<()> {
    let document = json!({
        "unit": "seconds",
        "machine": machine(),
        "mode": format!("{:?}", options.mode).to_lowercase(),
        "peer": options.peer,
        "scenarios": all.done.iter().map(scenario_value).collect::<Vec<_>>(),
        "costs": costs_value(&all.costs),
        "targets": all.verdicts.iter().map(verdict_value).collect::<Vec<_>>(),
    });
    std::fs::write(path, format!("{document:#}\n")).about(path.display())
}

/// Writes the figures of scenarios alone.
pub(crate) fn write_scenarios(path: &Path, done: &[Scenario]) -> Result<()> {
    let document = json!({
        "unit": "seconds",
        "machine": machine(),
        "scenarios": done.iter().map(scenario_value).collect::<Vec<_>>(),
    });
    std::fs::write(path, format!("{document:#}\n")).about(path.display())
}

/// The largest resident sets, KiB, of one thing done by several.
pub(crate) fn print_largest(title: &str, all: &[(String, Result<u64>)]) {
    println!("\n## {title}: largest resident set\n\n| contestant | KiB |\n|---|---|");
    for (name, largest) in all {
        match largest {
            Ok(kib) => println!("| {name} | {kib} |"),
            Err(error) => println!("| {name} | not measured: {error} |"),
        }
    }
}

fn machine() -> Value {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "kernel": kernel.trim(), "cpus": cpus })
}

fn scenario_value(scenario: &Scenario) -> Value {
    let rows: Vec<Value> = scenario
        .rows
        .iter()
        .map(|row| {
            let ratios: Vec<Value> = scenario
                .compare
                .iter()
                .filter(|c| c.of == row.contestant)
                .filter_map(|c| {
                    let kind = format!("{:?}", c.kind).to_lowercase();
                    let ratio = scenario.ratio(c, &row.verb)?;
                    Some(json!({ "against": c.against, "kind": kind, "ratio": ratio }))
                })
                .collect();
            json!({
                "contestant": row.contestant, "verb": row.verb, "ratios": ratios,
                "failures": row.failures, "firstFailure": row.first_failure,
                "figures": row.series.summary().map(|s| json!({
                    "count": s.count, "min": s.min, "p50": s.p50, "p95": s.p95, "p99": s.p99,
                    "max": s.max, "mean": s.mean,
                })),
            })
        })
        .collect();
    json!({ "name": scenario.name, "title": scenario.title, "notes": scenario.notes, "rows": rows })
}

fn costs_value(costs: &Costs) -> Value {
    let calls: Vec<Value> = costs
        .calls
        .iter()
        .map(|c| {
            json!({
                "scenario": c.scenario, "contestant": c.team, "verb": c.verb.as_str(),
                "execs": c.tally.execs, "processes": c.tally.processes,
                "threads": c.tally.threads, "maxRssKib": c.tally.max_rss_kib,
            })
        })
        .collect();
    let sizes: Vec<Value> = costs
        .sizes
        .iter()
        .map(|s| json!({ "plugin": s.plugin, "contestant": s.team, "bytes": s.bytes }))
        .collect();
    json!({ "calls": calls, "sizes": sizes })
}

fn verdict_value(verdict: &Verdict) -> Value {
    let (kind, bound) = match verdict.bound {
        Bound::AtLeast(least) => ("atLeast", least),
        Bound::AtMost(most) => ("atMost", most),
    };
    json!({ "what": verdict.what, kind: bound, "got": verdict.got, "met": verdict.met() })
}
