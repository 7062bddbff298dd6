//! `tune`: one curve for each knob, made by one command: a broker is started anew for each position,
//! rounds are interleaved, and a table and a chart are written for each knob.

mod knobs;

use std::path::PathBuf;
use std::time::Duration;

use crate::driver;
use crate::lab::{Lab, LabPlan};
use crate::machine::{self, Machine};
use crate::report::{self, Axis, Chart, Line, Page, median};
use crate::store::{self, Configuration, Merged, Scratch, Store, build_of, own_build};
use crate::suite::Row;
use knobs::{Draws, Knob, knobs};

/// What to turn.
pub(crate) struct TunePlan {
    pub(crate) broker: PathBuf,
    pub(crate) broker_flags: Vec<String>,
    pub(crate) out: PathBuf,
    /// The first is the usual one; more shards than one go round on all of them.
    pub(crate) broker_cpus: Vec<usize>,
    pub(crate) client_cpus: Vec<usize>,
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
    /// Only knobs whose names hold this.
    pub(crate) only: String,
}

/// Measures what is not there yet, and writes the page.
pub(crate) fn run(plan: TunePlan) -> anyhow::Result<()> {
    std::fs::create_dir_all(&plan.out)?;
    let machine = Machine::describe(&plan.out)?;
    println!("{}", machine.line());
    let configuration = configuration(&plan)?;
    let (store, machine) = Store::open(&plan.out, &configuration, &machine)?;
    let mut knobs = knobs();
    knobs.retain(|knob| knob.name.contains(&plan.only));
    let scratch = Scratch::new(&plan.out)?;
    let mut lab = Lab::open(lab_plan(&plan, scratch.path().to_owned())?)?;
    for round in 0..plan.rounds {
        for row in knobs.iter().flat_map(rows) {
            if store.has(&row.id, round) {
                continue;
            }
            println!("[round {}/{}] {}", round + 1, plan.rounds, row.title);
            let load_before = machine::load();
            let measured = lab.measure(&row.work);
            let record = driver::record(&row, round, measured, load_before)?;
            println!("    {}", report::line(&record)?);
            store.put(&record)?;
        }
    }
    write(&store, &knobs, &configuration, &machine)
}

fn configuration(plan: &TunePlan) -> anyhow::Result<Configuration> {
    let against = format!("{} {}", plan.broker.display(), plan.broker_flags.join(" "));
    Ok(Configuration {
        suite: format!("tune on cores {:?}", plan.broker_cpus),
        against: against.trim().to_owned(),
        build: build_of(&plan.broker),
        generator: own_build(),
        kind: "tailwater".to_owned(),
        broker_cpu: plan.broker_cpus[0],
        client_cpus: plan.client_cpus.clone(),
        rounds: plan.rounds,
        slice_ms: u64::try_from(plan.slice.as_millis())?,
    })
}

fn lab_plan(plan: &TunePlan, scratch: PathBuf) -> anyhow::Result<LabPlan> {
    Ok(LabPlan {
        against: None,
        broker: Some(plan.broker.clone()),
        broker_flags: plan.broker_flags.clone(),
        scratch,
        broker_cpus: plan.broker_cpus.clone(),
        client_cpus: plan.client_cpus.clone(),
        slice_ns: u64::try_from(plan.slice.as_nanos())?,
        with_kafka: false,
    })
}

/// Where a load at a position is kept.
fn id(knob: &Knob, position: usize, load: usize) -> String {
    format!("{}-{position}-{load}", knob.name)
}

fn rows(knob: &Knob) -> impl Iterator<Item = Row> + '_ {
    let positions = knob.positions.iter().enumerate();
    positions.flat_map(move |(at, position)| {
        let loads = position.loads.iter().enumerate();
        loads.map(move |(number, measured)| Row {
            id: id(knob, at, number),
            suite: knob.name,
            title: format!("{} {}: {}", knob.name, position.label, measured.load),
            survives: measured.survives,
            work: measured.work.clone(),
        })
    })
}

fn write(
    store: &Store,
    knobs: &[Knob],
    configuration: &Configuration,
    machine: &Machine,
) -> anyhow::Result<()> {
    let merged = store::merge(&store.records()?)?;
    let mut page = Page::new("What each knob does");
    page.facts(&[
        ("machine", machine.line()),
        ("broker", configuration.against.clone()),
        (
            "rounds",
            format!(
                "{} of {} ms each",
                configuration.rounds, configuration.slice_ms
            ),
        ),
        (
            "cores",
            format!(
                "{}, client {:?}",
                configuration.suite, configuration.client_cpus
            ),
        ),
    ]);
    page.text(
        "Each position is a broker of its own, started for it. Times are microseconds from when a request \
         was meant to be sent; rounds are merged as histograms, other figures are the median of the rounds, \
         with their range.",
    );
    for knob in knobs {
        page.heading(knob.title);
        let chart = chart(knob, &merged).svg();
        std::fs::write(store.dir().join(format!("{}.svg", knob.name)), &chart)?;
        page.chart(&chart);
        let of: Vec<_> = merged.iter().filter(|row| row.suite == knob.name).collect();
        let cells: Vec<_> = of.iter().map(|row| report::cells(row)).collect();
        page.table(&report::HEAD, &cells);
    }
    let path = store.dir().join("tune.html");
    std::fs::write(&path, page.end())?;
    println!("{}", path.display());
    Ok(())
}

fn chart(knob: &Knob, merged: &[Merged]) -> Chart {
    let labels = knob.positions.iter().map(|position| position.label);
    let Some(first) = knob.positions.first() else {
        unreachable!("a knob has positions");
    };
    let draws = first.loads.first().map_or(Draws::Latency, |it| it.draws);
    let mut lines = Vec::new();
    for (number, load) in first.loads.iter().enumerate() {
        let figure = |name: String, of: &dyn Fn(&Merged) -> Option<f64>| Line {
            name,
            points: (0..knob.positions.len())
                .filter_map(|at| {
                    let row = merged.iter().find(|row| row.id == id(knob, at, number))?;
                    Some((at as f64, of(row)?))
                })
                .collect(),
        };
        match draws {
            Draws::Latency => {
                for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
                    let of = |row: &Merged| Some(row.histograms.get("latency")?.us(part));
                    lines.push(figure(format!("{}, {name}", load.load), &of));
                }
            }
            Draws::Fact(name) => {
                let of = |row: &Merged| row.facts.get(name).map(|values| median(values));
                lines.push(figure(load.load.to_owned(), &of));
            }
        }
    }
    lines.retain(|line| !line.points.is_empty());
    Chart {
        title: knob.title.to_owned(),
        unit: draws.unit(),
        x_title: String::new(),
        x: Axis::Names(labels.map(str::to_owned).collect()),
        lines,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::times::Times;

    fn merged(id: String, us: u64) -> Merged {
        let mut times = Times::default();
        times.record(us * 1000);
        Merged {
            id,
            suite: String::new(),
            title: String::new(),
            survives: String::new(),
            rounds: 1,
            absent: None,
            histograms: BTreeMap::from([("latency".to_owned(), times)]),
            facts: BTreeMap::from([("records/s".to_owned(), vec![5.0, 7.0, 6.0])]),
        }
    }

    #[test]
    fn a_curve_has_a_point_for_each_position_that_was_measured() {
        let all = knobs();
        let of = |name: &str| all.iter().find(|knob| knob.name == name).unwrap();
        let poll = of("poll");
        let rows = [merged(id(poll, 0, 1), 100), merged(id(poll, 2, 1), 30)];
        let drawn = chart(poll, &rows);
        assert_eq!(drawn.unit, "us");
        let points: Vec<_> = drawn
            .lines
            .iter()
            .map(|line| line.points.as_slice())
            .collect();
        assert_eq!(
            points.len(),
            2,
            "p50 and p99 of the one load that was measured"
        );
        assert_eq!(points[0].len(), 2);
        assert!((points[0][0].1 - 100.0).abs() < 0.2 && points[0][1].0 == 2.0);
        let batch = of("batch");
        let drawn = chart(batch, &[merged(id(batch, 1, 0), 1)]);
        assert_eq!(
            (drawn.unit, drawn.lines[0].points.as_slice()),
            ("records/s", &[(1.0, 6.0)][..])
        );
        assert!(chart(batch, &[]).svg().contains("records/s"));
    }

    #[test]
    fn rows_of_all_knobs_have_files_of_their_own() {
        let mut ids: Vec<String> = knobs()
            .iter()
            .flat_map(|knob| rows(knob).map(|row| row.id).collect::<Vec<_>>())
            .collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
