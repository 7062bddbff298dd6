//! The files of the mesh, on loom's primitives, and the models of them.

#[path = "../../../shards/src/mesh/cache_line.rs"]
mod cache_line;
#[path = "../../../shards/src/mesh/credits.rs"]
mod credits;
#[path = "../../../shards/src/mesh/drain.rs"]
mod drain;
#[path = "../../../shards/src/mesh/endpoint.rs"]
mod endpoint;
#[path = "../../../shards/src/mesh/ends.rs"]
mod ends;
#[path = "../../../shards/src/mesh/handle.rs"]
mod handle;
#[path = "../../../shards/src/mesh/link.rs"]
mod link;
#[path = "../../../shards/src/mesh/look_on.rs"]
mod look_on;
#[path = "../../../shards/src/mesh/ready_set.rs"]
mod ready_set;
#[path = "../../../shards/src/mesh/reply.rs"]
mod reply;
#[path = "../../../shards/src/mesh/ring.rs"]
mod ring;
#[path = "../../../shards/src/mesh/wake_cell.rs"]
mod wake_cell;

mod models;
mod sync;
