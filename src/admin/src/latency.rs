//! `/v1/latency`: how long the requests at a percentile took, and in which stages.
//!
//! Asked by `api` (Kafka's name; default: all that were asked for), `percentile` (some, with
//! commas; default 50, 99 and 99.9) and `shard` (default: all together). The stages of a percentile
//! are the averages of the requests that took as long, to an eighth: so they sum up to what such
//! a request took, which percentiles of the single stages would not.

use serde_json::{Map, Value, json};
use tailwater_shards::{ShardId, Snapshot, Stage};
use tailwater_wire::ApiKey;

use crate::limits::PERCENTILES_MAX;
use crate::watched::Serving;

const PERCENTILES_DEFAULT: &[f64] = &[50.0, 99.0, 99.9];

/// What somebody wants to know.
#[derive(Debug, PartialEq)]
pub(crate) struct Asked {
    apis: Vec<ApiKey>,
    percentiles: Vec<f64>,
    shard: Option<u16>,
}

/// The name of an API, as Kafka has it.
pub(crate) fn name_of(api: ApiKey) -> String {
    format!("{api:?}")
}

impl Asked {
    /// Reads a query. The error is one sentence.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self {
            apis: ApiKey::ALL.to_vec(),
            percentiles: PERCENTILES_DEFAULT.to_vec(),
            shard: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "api" => asked.apis = vec![api(value)?],
                "percentile" => asked.percentiles = percentiles(value)?,
                "shard" => {
                    let shard = value.parse();
                    asked.shard = Some(shard.map_err(|_| format!("`{value}` is no shard"))?);
                }
                _ => return Err(format!("there is no `{name}`: api, percentile or shard")),
            }
        }
        Ok(asked)
    }
}

fn api(name: &str) -> Result<ApiKey, String> {
    let mut all = ApiKey::ALL.iter().copied();
    all.find(|api| name_of(*api) == name)
        .ok_or_else(|| format!("there is no API `{name}`"))
}

fn percentiles(text: &str) -> Result<Vec<f64>, String> {
    let one = |word: &str| match word.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err(format!("`{word}` is no percentile: 0 to 100")),
    };
    let all: Vec<_> = text.split(',').take(PERCENTILES_MAX + 1).collect();
    if all.len() > PERCENTILES_MAX {
        return Err(format!("at most {PERCENTILES_MAX} percentiles at once"));
    }
    all.into_iter().map(one).collect()
}

/// The answer. The error is one sentence.
pub(crate) fn answer(serving: &Serving, asked: &Asked) -> Result<Value, String> {
    let shards: Vec<ShardId> = match asked.shard {
        None => serving.shards().collect(),
        Some(shard) => vec![
            serving
                .shards()
                .find(|known| known.0 == shard)
                .ok_or_else(|| format!("there is no shard {shard}"))?,
        ],
    };
    let mut apis = Vec::new();
    for api in &asked.apis {
        let Some(all) = snapshot(serving, *api, &shards) else {
            continue;
        };
        let at = asked.percentiles.iter();
        let at: Vec<_> = at.filter_map(|percent| row(&all, *percent)).collect();
        apis.push(json!({
            "api": name_of(*api),
            "requests": all.count(),
            "percentiles": at,
        }));
    }
    let shard = asked.shard.map_or(json!("all"), |shard| json!(shard));
    Ok(json!({ "unit": "ns", "since": "start", "shard": shard, "apis": apis }))
}

/// What those shards have recorded of an API together.
fn snapshot(serving: &Serving, api: ApiKey, shards: &[ShardId]) -> Option<Snapshot> {
    let kind = usize::try_from(api as i16).ok()?;
    let shards = shards.iter();
    let each = shards.filter_map(|shard| serving.figures.latencies.snapshot(*shard, kind));
    each.reduce(|mut all, one| {
        all.merge(&one);
        all
    })
}

fn row(all: &Snapshot, percent: f64) -> Option<Value> {
    let at = all.at_percentile(percent)?;
    let stages = Stage::ALL.iter().zip(at.stages_ns);
    let stages = stages.filter(|(stage, _)| all.stage(**stage).count() > 0);
    let stages: Map<String, Value> = stages
        .map(|(stage, nanos)| (stage.name().to_owned(), json!(nanos)))
        .collect();
    Some(json!({
        "percentile": percent,
        "from": at.from_ns,
        "below": at.below_ns,
        "requests": at.requests,
        "stages": stages,
    }))
}
