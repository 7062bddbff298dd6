//! `compare`: rounds of both sides of every goal, beside each other, and how sure the ratios are.
//!
//! The side that a goal is about is measured twice a round, once before and once after the others: what
//! the second differs from the first by is the noise that no ratio can be told from (A/A).

mod goals;
mod statistics;

use std::path::PathBuf;
use std::time::Duration;

use crate::driver;
use crate::lab::{Lab, LabPlan};
use crate::machine::{self, Machine};
use crate::report::{Page, number};
use crate::store::{Configuration, Record, Scratch, Store, build_of, own_build};
use crate::suite::Row;
use crate::times::Times;
use goals::{Figure, Pair, Side};
use statistics::{Goal, Ratio, ratio};

/// What to compare.
pub(crate) struct ComparePlan {
    pub(crate) broker: PathBuf,
    pub(crate) broker_flags: Vec<String>,
    pub(crate) out: PathBuf,
    pub(crate) broker_cpu: usize,
    pub(crate) client_cpus: Vec<usize>,
    pub(crate) with_kafka: bool,
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
    /// Only goals whose lines hold this.
    pub(crate) only: String,
}

/// Measures the rounds that are not there yet and tells the ratios.
pub(crate) fn run(plan: ComparePlan) -> anyhow::Result<()> {
    std::fs::create_dir_all(&plan.out)?;
    let machine = Machine::describe(&plan.out)?;
    println!("{}", machine.line());
    let slice_ms = u64::try_from(plan.slice.as_millis())?;
    let configuration = Configuration {
        suite: "compare".to_owned(),
        against: format!("{} {}", plan.broker.display(), plan.broker_flags.join(" "))
            .trim()
            .to_owned(),
        build: build_of(&plan.broker),
        generator: own_build(),
        kind: "tailwater".to_owned(),
        broker_cpu: plan.broker_cpu,
        client_cpus: plan.client_cpus.clone(),
        rounds: plan.rounds,
        slice_ms,
    };
    let (store, machine) = Store::open(&plan.out, &configuration, &machine)?;
    let mut pairs = goals::pairs();
    pairs.retain(|pair| pair.what.contains(&plan.only));
    let needs = |name: &str| {
        let of = |pair: &Pair| pair.side == name || pair.over.is_some_and(|(over, _)| over == name);
        pairs.iter().any(of)
    };
    let mut sides = goals::sides();
    sides.retain(|side| needs(side.name));
    let scratch = Scratch::new(&plan.out)?;
    let mut lab = None;
    for round in 0..plan.rounds {
        for (id, side) in in_turn(&sides, &pairs, round) {
            if store.has(&id, round) {
                continue;
            }
            if lab.is_none() {
                lab = Some(Lab::open(lab_plan(&plan, scratch.path().to_owned())?)?);
            }
            let Some(lab) = &mut lab else { continue };
            println!("[round {}/{}] {}", round + 1, plan.rounds, side.title);
            let load_before = machine::load();
            let measured = lab.measure(&side.work);
            let record = driver::record(&row(&id, side), round, measured, load_before)?;
            println!("    {}", crate::report::line(&record)?);
            store.put(&record)?;
        }
    }
    tell(&store, &pairs, &configuration, &machine)
}

fn lab_plan(plan: &ComparePlan, scratch: PathBuf) -> anyhow::Result<LabPlan> {
    Ok(LabPlan {
        against: None,
        broker: Some(plan.broker.clone()),
        broker_flags: plan.broker_flags.clone(),
        scratch,
        broker_cpus: vec![plan.broker_cpu],
        client_cpus: plan.client_cpus.clone(),
        slice_ns: u64::try_from(plan.slice.as_nanos())?,
        with_kafka: plan.with_kafka,
    })
}

/// A round: all sides, from the front in one round and from the back in the next, then those again that
/// goals are about.
fn in_turn<'a>(sides: &'a [Side], pairs: &[Pair], round: usize) -> Vec<(String, &'a Side)> {
    let about = |side: &&Side| pairs.iter().any(|pair| pair.side == side.name);
    let once = sides.iter().map(|side| (side.name.to_owned(), side));
    let again = sides
        .iter()
        .filter(about)
        .map(|side| (again(side.name), side));
    let mut order: Vec<_> = once.chain(again).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// The second measurement of a side.
fn again(name: &str) -> String {
    format!("{name}-again")
}

fn row(id: &str, side: &Side) -> Row {
    let (title, work) = (side.title.to_owned(), side.work.clone());
    Row {
        id: id.to_owned(),
        suite: "compare",
        title,
        survives: side.survives,
        work,
    }
}

/// The figure of one round; None when it is absent.
fn value(
    records: &[Record],
    id: &str,
    round: usize,
    figure: Figure,
) -> anyhow::Result<Option<f64>> {
    let Some(record) = records
        .iter()
        .find(|record| record.id == id && record.round == round)
    else {
        return Ok(None);
    };
    Ok(match figure {
        Figure::Fact(name) => record.facts.get(name).copied(),
        Figure::Part(name, part) => match record.histograms.get(name) {
            Some(text) => Some(Times::decode(text)?.us(part)),
            None => None,
        },
    })
}

/// Both sides' values of the rounds that have both.
fn both(
    records: &[Record],
    rounds: usize,
    (a, figure_a): (&str, Figure),
    (b, figure_b): (&str, Figure),
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let mut found = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if let (Some(a), Some(b)) = (
            value(records, a, round, figure_a)?,
            value(records, b, round, figure_b)?,
        ) {
            found.0.push(a);
            found.1.push(b);
        }
    }
    Ok(found)
}

const HEAD: [&str; 9] = [
    "",
    "median",
    "of",
    "ratio",
    "95% interval",
    "rounds' range",
    "goal",
    "",
    "noise (A/A), 95% interval",
];

fn tell(
    store: &Store,
    pairs: &[Pair],
    configuration: &Configuration,
    machine: &Machine,
) -> anyhow::Result<()> {
    let records = store.records()?;
    let mut rows = Vec::new();
    for pair in pairs {
        rows.push(cells(&records, configuration.rounds, pair)?);
    }
    let mut page = Page::new("Compared");
    page.facts(&[
        ("machine", machine.line()),
        ("broker", configuration.against.clone()),
        (
            "rounds",
            format!(
                "{} of {} ms a side",
                configuration.rounds, configuration.slice_ms
            ),
        ),
        (
            "cores",
            format!(
                "broker {}, client {:?}",
                configuration.broker_cpu, configuration.client_cpus
            ),
        ),
    ]);
    page.text(
        "A ratio is of the medians over rounds; its interval is a bootstrap over rounds. Met or not met is \
         said only when the whole interval lies on one side of the goal. Noise is the same side measured \
         twice a round. Times are microseconds from when a request was meant to be sent. While a side is \
         measured, all others that run stand still (SIGSTOP), and what they have written is on the disk; \
         Kafka is given a longer broker.session.timeout.ms for that, and is otherwise as it comes.",
    );
    page.table(&HEAD, &rows);
    page.heading("What an acknowledgement survives");
    let survives = goals::sides()
        .into_iter()
        .map(|side| vec![side.title.to_owned(), side.survives.to_owned()]);
    page.table(&["", "survives"], &survives.collect::<Vec<_>>());
    let path = store.dir().join("compare.html");
    std::fs::write(&path, page.end())?;
    println!("\n| {} |\n|{}", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    rows.iter()
        .for_each(|row| println!("| {} |", row.join(" | ")));
    println!("\n{}", path.display());
    Ok(())
}

fn cells(records: &[Record], rounds: usize, pair: &Pair) -> anyhow::Result<Vec<String>> {
    let a = (pair.side, pair.figure);
    let second = again(pair.side);
    let noise = both(records, rounds, (&second, pair.figure), a)?;
    let (values, over) = match pair.over {
        Some(b) => both(records, rounds, a, b)?,
        None => {
            let (_, values) = both(records, rounds, a, a)?;
            let ones = vec![1.0; values.len()];
            (values, ones)
        }
    };
    let Some(found) = ratio(&values, &over) else {
        let why = records.iter().find_map(|record| {
            let of = record.id == pair.side || pair.over.is_some_and(|(over, _)| record.id == over);
            record.absent.as_ref().filter(|_| of)
        });
        let mut cells = vec![String::new(); HEAD.len()];
        cells[0] = pair.what.to_owned();
        cells[3] = format!("absent: {}", why.map_or("not measured", String::as_str));
        cells[6] = pair.goal.to_string();
        return Ok(cells);
    };
    let median = crate::report::median;
    let interval = |ratio: Option<Ratio>| {
        ratio.map_or(String::new(), |r| {
            format!("{} to {}", number(r.low), number(r.high))
        })
    };
    Ok(vec![
        pair.what.to_owned(),
        number(median(&values)),
        if pair.over.is_some() {
            number(median(&over))
        } else {
            String::new()
        },
        number(found.median),
        interval(Some(found)),
        format!(
            "{} to {} ({})",
            number(found.least),
            number(found.most),
            values.len()
        ),
        pair.goal.to_string(),
        Goal::verdict(pair.goal, &found).to_owned(),
        interval(ratio(&noise.0, &noise.1)),
    ])
}
