//! The part of the disk that is beyond all chance.

use std::sync::Arc;

use super::world::Shared;

/// What a power cut could not take, see `Simulation::sure_disk`: bytes that are durable, that no
/// change under way touches, in files whose names are durable all the way up. It looks at the
/// disk alone and asks no process.
#[derive(Clone)]
pub struct SureDisk {
    shared: Arc<Shared>,
}

impl SureDisk {
    pub(crate) fn new(shared: Arc<Shared>) -> SureDisk {
        SureDisk { shared }
    }

    /// Whether `look` takes any of the runs of sure bytes. A run is what lies together in a file;
    /// holes and blocks of zeros end it.
    pub fn any_run(&self, look: impl FnMut(&[u8]) -> bool) -> bool {
        self.shared.world(|world| world.disk.any_sure_run(look))
    }
}

impl std::fmt::Debug for SureDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SureDisk").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::sim::Simulation;
    use crate::{DmaBuf, File, IoClass, OpenOptions, ShardId, dir};

    #[test]
    fn bytes_are_sure_once_they_and_their_names_are_synced_and_until_they_are_written_over() {
        let mut sim = Simulation::new(1);
        let disk = sim.sure_disk();
        let asked = disk.clone();
        let process = sim.boot(1, move |_: ShardId| {
            let disk = asked.clone();
            async move {
                let holds = || disk.any_run(|run| run.starts_with(b"sure"));
                let options = OpenOptions {
                    create_new: true,
                    write: true,
                };
                dir::create_all(Path::new("/d")).await.unwrap();
                let file = File::open(Path::new("/d/f"), options).await.unwrap();
                let block = |text: &'static [u8]| {
                    let mut buf = DmaBuf::zeroed(4096);
                    buf[..text.len()].copy_from_slice(text);
                    buf.freeze()
                };
                let (first, second) = (block(b"sure"), block(b"else"));
                file.write(IoClass::Commit, 0, &first).await.unwrap();
                file.sync(IoClass::Commit).await.unwrap();
                assert!(!holds(), "its name may be lost");
                dir::sync(Path::new("/d")).await.unwrap();
                assert!(!holds(), "its directory's name may be lost");
                dir::sync(Path::new("/")).await.unwrap();
                assert!(holds());
                file.write(IoClass::Commit, 0, &second).await.unwrap();
                assert!(!holds(), "what is written over it may land or not");
                file.sync(IoClass::Commit).await.unwrap();
                assert!(!holds());
            }
        });
        sim.run_until_ended(process);
    }
}
