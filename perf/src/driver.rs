//! A run of a suite: rounds of all rows, each kept as a file as soon as it is measured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::lab::{Lab, LabPlan, Measured};
use crate::load::Pace;
use crate::machine::{self, Machine};
use crate::report;
use crate::store::{Configuration, Record, Scratch, Store, build_of, own_build};
use crate::suite::{self, Extent, Kind, Row, Work};

/// What to run.
pub(crate) struct RunPlan {
    pub(crate) extent: Extent,
    pub(crate) kind: Kind,
    pub(crate) against: Option<SocketAddr>,
    pub(crate) broker: Option<PathBuf>,
    pub(crate) broker_flags: Vec<String>,
    pub(crate) out: PathBuf,
    pub(crate) broker_cpu: usize,
    pub(crate) client_cpus: Vec<usize>,
    pub(crate) with_kafka: bool,
    /// Only rows whose names hold this.
    pub(crate) only: String,
}

/// Rounds, how long a row is measured in each, and after what time no row is begun any more.
fn bounds(extent: Extent) -> (usize, Duration, Duration) {
    match extent {
        Extent::Quick => (
            2,
            Duration::from_millis(2500),
            Duration::from_secs(7 * 60 + 30),
        ),
        Extent::Full => (4, Duration::from_secs(8), Duration::from_secs(58 * 60)),
    }
}

/// A rate that a broker acknowledges less than this part of is beyond what it can do.
const SUSTAINED: f64 = 0.95;

/// Runs what is not done yet and writes the report.
pub(crate) fn run(plan: RunPlan) -> anyhow::Result<()> {
    let (rounds, slice, time) = bounds(plan.extent);
    let began = Instant::now();
    std::fs::create_dir_all(&plan.out)?;
    let machine = Machine::describe(&plan.out)?;
    println!("{}", machine.line());
    let starts_broker = plan.broker.is_some();
    let configuration = configuration(&plan, rounds, slice)?;
    let (store, machine) = Store::open(&plan.out, &configuration, &machine)?;
    let mut rows = suite::rows(plan.extent, plan.kind, starts_broker);
    rows.retain(|row| row.id.contains(&plan.only));
    let todo = |store: &Store| {
        let of = |row: &Row| {
            (0..rounds)
                .filter(|round| !store.has(&row.id, *round))
                .count()
        };
        rows.iter().map(of).sum::<usize>()
    };
    let (all, mut done) = (todo(&store), 0);
    if all > 0 {
        let scratch = Scratch::new(&plan.out)?;
        let mut lab = Lab::open(lab_plan(&plan, scratch.path().to_owned(), slice)?)?;
        for round in 0..rounds {
            // What is not sustained once is not asked for at a higher rate in that round.
            let mut knee = false;
            for row in in_turn(&rows, round, rounds)
                .into_iter()
                .filter(|row| !store.has(&row.id, round))
            {
                if began.elapsed() > time {
                    break;
                }
                done += 1;
                println!(
                    "[{done}/{all}, round {}/{rounds}, {} s] {}",
                    round + 1,
                    began.elapsed().as_secs(),
                    row.title
                );
                let load_before = machine::load();
                let is_rate = row.suite == "rate";
                let beyond = knee && is_rate;
                let measured = if beyond {
                    Err(anyhow::anyhow!("beyond the knee"))
                } else {
                    lab.measure(&row.work)
                };
                knee |= is_rate
                    && !measured
                        .as_ref()
                        .is_ok_and(|measured| is_sustained(row, measured));
                let record = record(row, round, measured, load_before)?;
                println!("    {}", report::line(&record)?);
                store.put(&record)?;
            }
        }
    }
    let left = todo(&store);
    if left > 0 {
        println!("{left} rows are left: the same command goes on with them");
    }
    report::write(&store, &configuration, &machine)?;
    Ok(())
}

fn configuration(plan: &RunPlan, rounds: usize, slice: Duration) -> anyhow::Result<Configuration> {
    let broker = plan
        .broker
        .as_ref()
        .map(|path| format!("{} {}", path.display(), plan.broker_flags.join(" ")));
    let against = plan.against.map(|addr| addr.to_string());
    Ok(Configuration {
        suite: format!("{:?}", plan.extent).to_lowercase(),
        against: against.or(broker).unwrap_or_default().trim().to_owned(),
        build: plan.broker.as_deref().map(build_of).unwrap_or_default(),
        generator: own_build(),
        kind: format!("{:?}", plan.kind).to_lowercase(),
        broker_cpu: plan.broker_cpu,
        client_cpus: plan.client_cpus.clone(),
        rounds,
        slice_ms: u64::try_from(slice.as_millis())?,
    })
}

fn lab_plan(plan: &RunPlan, scratch: PathBuf, slice: Duration) -> anyhow::Result<LabPlan> {
    Ok(LabPlan {
        against: plan.against,
        broker: plan.broker.clone(),
        broker_flags: plan.broker_flags.clone(),
        scratch,
        broker_cpus: vec![plan.broker_cpu],
        client_cpus: plan.client_cpus.clone(),
        slice_ns: u64::try_from(slice.as_nanos())?,
        with_kafka: plan.with_kafka,
    })
}

/// The suites of a round, each as a whole and in its order; each round begins with another one, so that
/// none is always the first after the same other.
fn in_turn(rows: &[Row], round: usize, rounds: usize) -> Vec<&Row> {
    let suites: Vec<&[Row]> = rows.chunk_by(|a, b| a.suite == b.suite).collect();
    let shift = round * suites.len() / rounds;
    suites
        .iter()
        .cycle()
        .skip(shift)
        .take(suites.len())
        .flat_map(|suite| suite.iter())
        .collect()
}

fn is_sustained(row: &Row, measured: &Measured) -> bool {
    let Work::Load(workload) = &row.work else {
        return true;
    };
    let Pace::Open { rate } = workload.pace else {
        return true;
    };
    let reached = measured.facts.get("records/s").copied().unwrap_or(0.0);
    reached >= SUSTAINED * rate as f64
}

/// What is kept of a row.
pub(crate) fn record(
    row: &Row,
    round: usize,
    measured: anyhow::Result<Measured>,
    load_before: String,
) -> anyhow::Result<Record> {
    let absent = measured.as_ref().err().map(|error| format!("{error:#}"));
    let measured = measured.unwrap_or_default();
    let facts = measured
        .facts
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    let encoded = |(name, times): (&&'static str, &crate::times::Times)| {
        Ok(((*name).to_owned(), times.encode()?))
    };
    let histograms = measured
        .histograms
        .iter()
        .map(encoded)
        .collect::<anyhow::Result<_>>()?;
    Ok(Record {
        id: row.id.clone(),
        suite: row.suite.to_owned(),
        title: row.title.clone(),
        survives: row.survives.to_owned(),
        round,
        work: format!("{:?}", row.work),
        absent,
        facts,
        histograms,
        load_before,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_begin_with_different_suites_and_rates_rise_in_each() {
        let rows = suite::rows(Extent::Full, Kind::Tailwater, true);
        let first = in_turn(&rows, 0, 4);
        for round in 1..4 {
            let order = in_turn(&rows, round, 4);
            assert_ne!(order[0].id, first[0].id);
            assert_eq!(order.len(), rows.len());
            let rates: Vec<&str> = order
                .iter()
                .filter(|row| row.suite == "rate")
                .map(|row| row.id.as_str())
                .collect();
            assert!(rates.is_sorted());
        }
    }
}
