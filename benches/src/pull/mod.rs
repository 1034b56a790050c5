//! `podloom image` beside containerd: the same images, the same registry, a fresh store each time.

mod disk;
mod keeper;
mod options;

pub(crate) use keeper::timed;
pub(crate) use options::{Options, USAGE};

use crate::error::{About, Error, Result};
use crate::floor::Floor;
use crate::node::Site;
use crate::race::{Board, Compare, Row, Scenario, Turns};
use crate::report;
use disk::Disk;
use images::{Image, Layer, Packing, Registry, bulk};
use keeper::{Keeper, Kind, List};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const FILES: usize = 32_000;
const BYTES: usize = 300 << 20;
const MANY: usize = 1_000;
const LISTS: usize = 30;

const PULL: &str = "pull 300 MB";
const SYNCED: &str = "pull 300 MB, then sync";
const SECOND: &str = "second image, 7 of 8 layers there";

/// Runs the wanted scenarios and reports.
pub(crate) fn run(options: &Options) -> Result<()> {
    let site = Site::open(&options.data)?;
    let floor = Floor::compile(&site)?;
    let mut kinds = vec![Kind::Podloom(options.podloom.clone())];
    kinds.extend(options.containerd.iter().cloned().map(Kind::Containerd));
    let mut stage = Stage { options, site: &site, floor: &floor, kinds, opened: 0 };
    let mut done = Vec::new();
    if options.wants("pull") {
        let (scenario, memory) = stage.pull()?;
        report::print_scenario(&scenario);
        report::print_largest(PULL, &memory);
        done.push(scenario);
    }
    if options.wants("many") {
        let scenario = stage.many()?;
        report::print_scenario(&scenario);
        done.push(scenario);
    }
    match &options.output {
        Some(path) => report::write_scenarios(path, &done),
        None => Ok(()),
    }
}

struct Stage<'a> {
    options: &'a Options,
    site: &'a Site,
    floor: &'a Floor,
    kinds: Vec<Kind>,
    opened: usize,
}

/// Each contestant's largest resident set, KiB.
type Memory = Vec<(String, Result<u64>)>;

impl Stage<'_> {
    /// A keeper that has nothing, on a disk of its own that has nothing to do.
    fn fresh(&mut self, kind: &Kind) -> Result<Keeper> {
        self.opened += 1;
        let disk = Disk::make(&self.site.dir().join(format!("keeper{}", self.opened)))?;
        let keeper = Keeper::open(kind, disk)?;
        keeper.sync()?;
        Ok(keeper)
    }

    fn timed(&self, mut command: Command) -> Result<std::result::Result<Duration, String>> {
        timed(&mut command, &self.site.dir().join("stderr"))
    }

    fn pull(&mut self) -> Result<(Scenario, Memory)> {
        let missing = "docker-registry, htpasswd (apache2-utils) and setpriv must be installed";
        let registry = Registry::start().ok_or_else(|| Error::new("registry", missing))?;
        for (tag, variant) in [("1", 1), ("2", 2)] {
            registry.push("bulk", tag, &bulk(FILES, BYTES, variant));
        }
        let names = ["1", "2"].map(|tag| format!("{}/bulk:{tag}", registry.plain_host()));
        let kinds = self.kinds.clone();
        let mut board = Board::default();
        let mut turns = Turns::of(kinds.len());
        // The first round is not counted: the registry reads its files from the disk.
        for round in 0..=self.options.rounds {
            for lane in turns.shuffled() {
                let kind = &kinds[lane];
                let keeper = self.fresh(kind)?;
                board.counts = round > 0;
                let first = self.timed(keeper.pull(&names[0]))?;
                let before = std::time::Instant::now();
                keeper.sync()?;
                let synced = before.elapsed();
                board.note(kind.label(), SYNCED, first.clone().map(|wall| wall + synced));
                board.note(kind.label(), PULL, first);
                board.note(kind.label(), SECOND, self.timed(keeper.pull(&names[1]))?);
            }
        }
        let memory = self.pull_memory(&names[0])?;
        let title = format!("pull of {FILES} files in 8 layers");
        Ok((self.scenario("pull", title, board.into_rows()), memory))
    }

    fn pull_memory(&mut self, name: &str) -> Result<Memory> {
        let mut memory = Vec::new();
        for kind in self.kinds.clone() {
            let keeper = self.fresh(&kind)?;
            let report = self.site.dir().join("tally");
            let plain = keeper.pull(name);
            let mut traced = Command::new(&self.floor.tally);
            traced.arg(&report).arg(plain.get_program()).args(plain.get_args());
            let outcome = self.timed(traced)?;
            let client = outcome.map_err(|cause| Error::new(kind.label(), cause)).and_then(|_| {
                let text = std::fs::read_to_string(&report).about(report.display())?;
                crate::floor::largest(&text)
            });
            memory.push((kind.label().to_owned(), client));
            if let Some(peak) = keeper.daemon_peak()? {
                memory.push((format!("{}, its daemon", kind.label()), Ok(peak)));
            }
        }
        Ok(memory)
    }

    fn many(&mut self) -> Result<Scenario> {
        let archive = self.thousand()?;
        let kinds = self.kinds.clone();
        let mut board = Board::default();
        board.counts = true;
        let mut keepers = Vec::new();
        for kind in &kinds {
            let keeper = self.fresh(kind)?;
            board.note(kind.label(), "import 1,000 images", self.timed(keeper.import(&archive))?);
            keepers.push(keeper);
        }
        let mut turns = Turns::of(kinds.len());
        for round in 0..LISTS + 2 {
            board.counts = round > 1;
            for (form, verb) in [(List::Full, "list 1,000"), (List::Short, "list 1,000, -q")] {
                for lane in turns.shuffled() {
                    board.note(kinds[lane].label(), verb, self.timed(keepers[lane].list(form))?);
                }
            }
        }
        Ok(self.scenario(
            "many",
            format!("{MANY} images of one small layer each"),
            board.into_rows(),
        ))
    }

    /// An archive of images that differ in their one layer.
    fn thousand(&self) -> Result<PathBuf> {
        let image = |number: usize| {
            let text = format!("image {number}\n");
            Image::new(vec![(Layer::new().file("number", text.as_bytes()), Packing::Gzip)])
        };
        let all: Vec<(String, Image)> = (0..MANY)
            .map(|number| (format!("registry.test/many/image{number}:1"), image(number)))
            .collect();
        let named: Vec<(&str, &Image)> =
            all.iter().map(|(name, image)| (name.as_str(), image)).collect();
        let archive = self.site.dir().join("many.tar");
        images::write_oci_archive(&archive, &named);
        Ok(archive)
    }

    fn scenario(&self, name: &'static str, title: String, rows: Vec<Row>) -> Scenario {
        let compare = match &self.kinds[..] {
            [ours, peer] => vec![Compare::speed(ours.label(), peer.label())],
            _ => Vec::new(),
        };
        Scenario { name, title, rows, compare, notes: Vec::new() }
    }
}
