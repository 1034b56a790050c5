//! OCI runtimes, one process a step, beside the least that the kernel work can cost.

mod bundle;
mod floored;
mod inside;
mod options;
mod player;
mod tree;

pub(crate) use inside::cycle;
pub(crate) use options::{Options, USAGE, contestant};
pub(crate) use tree::Tree;

use crate::error::{About, Result};
use crate::floor::Floor;
use crate::node::Site;
use crate::race::{Board, Compare, Scenario, Turns};
use crate::report;
use bundle::Shape;
use floored::Bare;
use inside::Inside;
use options::Contestant;
use player::{Player, Stage, Step};

/// The label of the program under measurement.
const OURS: &str = "podloom-oci";
/// The label of the library under measurement.
const LINKED: &str = "podloom, linked";
/// The label of the bare program, and of the same with the control groups of a container.
const FLOOR: &str = "floor";
const FLOOR_GROUPS: &str = "floor, groups";
/// Create and start, and delete too, of one container.
const SUMS: [(&str, &[&str]); 2] = [
    ("create+start", &["create", "start"]),
    ("create+start+delete", &["create", "start", "delete"]),
];
/// Rounds that are not counted.
const WARM_UP: usize = 3;

/// Runs the wanted scenarios and reports.
pub(crate) fn run(options: &Options) -> Result<()> {
    let site = Site::open(&options.data)?;
    nix::sys::prctl::set_child_subreaper(true).about("child subreaper")?;
    let tree = Tree::take()?;
    let floor = Floor::compile(&site)?;
    let (rootfs, shared) = (site.dir().join("rootfs"), site.dir().join("shared"));
    bundle::make_rootfs(&rootfs, &floor.payload)?;
    std::fs::write(&shared, "127.0.0.1 localhost\n").about(shared.display())?;
    let mut done = Vec::new();
    for shape in Shape::BOTH {
        let (rootfs, shared) = (rootfs.clone(), shared.clone());
        let cgroups = tree.path().to_owned();
        let stage = Stage { site: &site, shape, rootfs, shared, cgroups };
        if options.wants(shape.as_str()) {
            let scenario = race(options, &stage, &floor)?;
            report::print_scenario(&scenario);
            done.push(scenario);
        }
        if options.wants("memory") {
            report::print_largest(shape.as_str(), &memory(options, &stage, &floor)?);
        }
    }
    match &options.output {
        Some(path) => report::write_scenarios(path, &done),
        None => Ok(()),
    }
}

/// The runtimes in the race; ours first.
fn contestants(options: &Options) -> Vec<Contestant> {
    let ours = options.ours.iter();
    let ours = ours.map(|program| Contestant { name: OURS.to_owned(), program: program.clone() });
    ours.chain(options.peers.iter().cloned()).collect()
}

/// Everybody, in turn.
fn race(options: &Options, stage: &Stage<'_>, floor: &Floor) -> Result<Scenario> {
    let named = contestants(options);
    let mut players =
        named.iter().map(|who| Player::new(stage, who)).collect::<Result<Vec<_>>>()?;
    let bare = Bare::new(stage, floor)?;
    let linked = if options.ours.is_some() { Some(Inside::new(stage)?) } else { None };
    let mut board = Board::default();
    let mut turns = Turns::of(players.len());
    for round in 0..options.rounds + WARM_UP {
        board.counts = round >= WARM_UP;
        for step in Step::ALL {
            for lane in turns.shuffled() {
                let player = &mut players[lane];
                let name = player.contestant.name.clone();
                if board.may_run(&name) {
                    let outcome = player.take(step)?;
                    board.note(&name, step.as_str(), outcome);
                }
            }
        }
        board.add_up(named.iter().map(|who| who.name.as_str()), &SUMS);
        for (name, groups) in [(FLOOR, false), (FLOOR_GROUPS, true)] {
            if board.may_run(name) {
                board.note(name, Step::Run.as_str(), bare.run(groups)?);
            }
        }
        if let Some(linked) = linked.as_ref().filter(|_| board.may_run(LINKED)) {
            for (verb, outcome) in linked.run()? {
                board.note(LINKED, verb, outcome);
            }
        }
    }
    Ok(Scenario {
        name: stage.shape.as_str(),
        title: format!("{} bundle", stage.shape.as_str()),
        rows: board.into_rows(),
        compare: comparisons(&named),
        notes: stage.notes(),
    })
}

impl Stage<'_> {
    fn notes(&self) -> Vec<String> {
        let groups =
            if tree::is_hybrid() { "the empty v2 tree of a hybrid layout is hidden" } else { "" };
        [groups].iter().filter(|note| !note.is_empty()).map(|note| (*note).to_owned()).collect()
    }
}

fn comparisons(named: &[Contestant]) -> Vec<Compare> {
    let mut compare: Vec<Compare> = [FLOOR, FLOOR_GROUPS]
        .iter()
        .flat_map(|floor| [Compare::cost(OURS, floor), Compare::cost(LINKED, floor)])
        .collect();
    for peer in named.iter().filter(|who| who.name != OURS) {
        compare.push(Compare::speed(OURS, &peer.name));
        compare.push(Compare::speed(LINKED, &peer.name));
    }
    compare
}

/// The largest resident set, KiB, of running `true`.
fn memory(
    options: &Options,
    stage: &Stage<'_>,
    floor: &Floor,
) -> Result<Vec<(String, Result<u64>)>> {
    let mut all = Vec::new();
    for who in contestants(options) {
        let player = Player::new(stage, &who)?;
        all.push((who.name, player.largest(&floor.tally, Step::Run)));
    }
    Ok(all)
}
