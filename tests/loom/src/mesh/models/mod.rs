//! Each model is a few operations of few threads, in every order that the bound allows.

mod mesh;
mod ready_set;
mod ring;
mod wake_cell;

/// Checks `model` under every interleaving with at most `preemptions` preemptions: threads may
/// still switch freely wherever one waits or ends.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // The environment may ask for more.
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 10_000;
    builder.check(model);
}
