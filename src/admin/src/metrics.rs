//! `/metrics`: Prometheus text, version 0.0.4.
//!
//! Bounded by what there is: a line for each counter and shard, and for each API that was asked for,
//! stage that it passed and shard the lines of a histogram. No name comes from a client.

use std::fmt::{self, Write};

use tailwater_shards::{Counter, FULL_SHARE, Histogram, ShardId, Stage};
use tailwater_wire::ApiKey;

use crate::latency::name_of;
use crate::watched::{Readiness, Serving, Watched};

/// The `le` of histograms are the powers of two from this many nanoseconds, 1 us ...
const LE_FIRST: u32 = 10;

/// ... to this many, 17 s. Histograms of the broker are eight times as fine: `/v1/latency` has that.
const LE_LAST: u32 = 34;

/// All that can be told now.
pub(crate) fn text(watched: &Watched) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _written = write_all(&mut text, watched);
    text
}

fn write_all(out: &mut String, watched: &Watched) -> fmt::Result {
    let version = watched.version;
    head(out, "tailwater_info", "gauge", "What runs.")?;
    writeln!(out, "tailwater_info{{version=\"{version}\"}} 1")?;
    head(
        out,
        "tailwater_ready",
        "gauge",
        "1 while clients are served.",
    )?;
    let ready = u8::from(watched.readiness() == Readiness::Ready);
    writeln!(out, "tailwater_ready {ready}")?;
    let Some(serving) = watched.serving() else {
        return Ok(());
    };
    work(out, serving)?;
    acknowledgements(out, serving)?;
    counters(out, serving)?;
    requests(out, serving)?;
    stages(out, serving)
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}")?;
    writeln!(out, "# TYPE {name} {kind}")
}

fn work(out: &mut String, serving: &Serving) -> fmt::Result {
    let name = "tailwater_shard_work_seconds_total";
    head(
        out,
        name,
        "counter",
        "How long a shard has worked; to look on while nothing comes is no work.",
    )?;
    for shard in serving.shards() {
        let worked = serving.figures.work.of_shard(shard).as_secs_f64();
        writeln!(out, "{name}{{shard=\"{}\"}} {worked}", shard.0)?;
    }
    let name = "tailwater_shard_utilisation_ratio";
    head(
        out,
        name,
        "gauge",
        "The share of the last second that a shard worked.",
    )?;
    for shard in serving.shards() {
        let share = serving.utilisation(shard);
        writeln!(out, "{name}{{shard=\"{}\"}} {share}", shard.0)?;
    }
    Ok(())
}

/// Of a broker that has a latency target.
fn acknowledgements(out: &mut String, serving: &Serving) -> fmt::Result {
    let told = &serving.figures.acknowledgements;
    let Some(target) = told.target() else {
        return Ok(());
    };
    let name = "tailwater_latency_target_seconds";
    head(
        out,
        name,
        "gauge",
        "What 999 of 1,000 durable acknowledgements are to take at most.",
    )?;
    writeln!(out, "{name} {}", target.as_secs_f64())?;
    let name = "tailwater_latency_error_budget_remaining_ratio";
    let help = "What is left of the late acknowledgements that the last hour may have; below 0 there were more.";
    head(out, name, "gauge", help)?;
    writeln!(out, "{name} {}", serving.budget_remaining())?;
    let name = "tailwater_durable_acknowledgements_total";
    head(out, name, "counter", "Durable acknowledgements.")?;
    for shard in serving.shards() {
        writeln!(
            out,
            "{name}{{shard=\"{}\"}} {}",
            shard.0,
            told.of_shard(shard).all
        )?;
    }
    let name = "tailwater_late_acknowledgements_total";
    head(
        out,
        name,
        "counter",
        "Of these, those that took longer than the target.",
    )?;
    for shard in serving.shards() {
        writeln!(
            out,
            "{name}{{shard=\"{}\"}} {}",
            shard.0,
            told.of_shard(shard).late
        )?;
    }
    let name = "tailwater_background_share_ratio";
    let help = "What the background is left of the operations that it may have on the device.";
    head(out, name, "gauge", help)?;
    for shard in serving.shards() {
        let share = f64::from(told.share(shard)) / f64::from(FULL_SHARE);
        writeln!(out, "{name}{{shard=\"{}\"}} {share}", shard.0)?;
    }
    Ok(())
}

fn counters(out: &mut String, serving: &Serving) -> fmt::Result {
    for counter in Counter::ALL {
        let name = format!("tailwater_{}_total", counter.name());
        head(out, &name, "counter", counter.help())?;
        for shard in serving.shards() {
            let count = serving.figures.counters.of_shard(shard, *counter);
            writeln!(out, "{name}{{shard=\"{}\"}} {count}", shard.0)?;
        }
    }
    Ok(())
}

/// What each shard has recorded, API by API.
fn each_kind(
    serving: &Serving,
) -> impl Iterator<Item = (ApiKey, ShardId, tailwater_shards::Snapshot)> {
    ApiKey::ALL.iter().flat_map(move |api| {
        serving.shards().filter_map(move |shard| {
            let kind = usize::try_from(*api as i16).ok()?;
            let of_shard = serving.figures.latencies.snapshot(shard, kind)?;
            Some((*api, shard, of_shard))
        })
    })
}

fn requests(out: &mut String, serving: &Serving) -> fmt::Result {
    let name = "tailwater_request_seconds";
    head(
        out,
        name,
        "histogram",
        "How long requests took, from their first bytes until their answers were given to the socket.",
    )?;
    for (api, shard, of_kind) in each_kind(serving) {
        let labels = format!("api=\"{}\",shard=\"{}\"", name_of(api), shard.0);
        histogram(out, name, &labels, &of_kind.total())?;
    }
    Ok(())
}

fn stages(out: &mut String, serving: &Serving) -> fmt::Result {
    let name = "tailwater_request_stage_seconds";
    head(
        out,
        name,
        "histogram",
        "How long requests were in each stage of their way.",
    )?;
    for (api, shard, of_kind) in each_kind(serving) {
        for stage in Stage::ALL {
            let of_stage = of_kind.stage(*stage);
            if of_stage.count() > 0 {
                let (api, stage) = (name_of(api), stage.name());
                let labels = format!("api=\"{api}\",stage=\"{stage}\",shard=\"{}\"", shard.0);
                histogram(out, name, &labels, of_stage)?;
            }
        }
    }
    Ok(())
}

fn histogram(out: &mut String, name: &str, labels: &str, of: &Histogram) -> fmt::Result {
    for exponent in LE_FIRST..=LE_LAST {
        let nanos = 1_u64 << exponent;
        let (le, count) = (nanos as f64 / 1e9, of.count_below(nanos));
        writeln!(out, "{name}_bucket{{{labels},le=\"{le}\"}} {count}")?;
    }
    let count = of.count();
    writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
    writeln!(out, "{name}_sum{{{labels}}} {}", of.sum_ns as f64 / 1e9)?;
    writeln!(out, "{name}_count{{{labels}}} {count}")
}
