//! The end of the process on purpose.
//!
//! Used where going on could lose what was acknowledged: a failed write or sync of the WAL.

use std::panic::resume_unwind;

use crate::context;
use crate::engine::{EngineHandle, host};

/// The payload that unwinds a simulated process to its end. It is not a panic: the catch at
/// each spawn lets it pass, and only the simulator's loop takes it.
pub(crate) struct ProcessEnds {
    /// Why, as given to [`fatal`].
    pub(crate) reason: String,
}

impl ProcessEnds {
    /// Unwinds to the simulator without running the panic hook.
    pub(crate) fn unwind(reason: &str) -> ! {
        resume_unwind(Box::new(ProcessEnds {
            reason: reason.to_owned(),
        }))
    }
}

/// Says why and ends the process at once, with a non-zero exit code and no clean-up; under
/// `sim` it ends the simulated process instead. Nothing that was acknowledged depends on
/// anything that would run after it.
pub fn fatal(reason: &str) -> ! {
    let context = context::current();
    match &context.engine {
        EngineHandle::Glommio(_) | EngineHandle::Uring(_) => host::fatal(reason),
        EngineHandle::Sim(shard) => shard.fatal(reason),
    }
}
