//! Makes corpora of what `fuzz/record` recorded: `cargo run --release --example seed -- DIR`.
#![allow(
    clippy::disallowed_methods,
    reason = "a tool for the developer, on real files"
)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tailwater_fuzz::image;
use tailwater_record::{BatchHeader, HEADER_BYTES, batches};
use tailwater_wire::{Request, RequestFrame};

struct Corpora(PathBuf);

impl Corpora {
    fn put(&self, target: &str, name: &str, seed: &[u8]) -> Result<(), Box<dyn Error>> {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), seed)?)
    }

    /// One frame as an input of each target that it is good for.
    fn frame(&self, name: &str, frame: &[u8]) -> Result<(), Box<dyn Error>> {
        self.put("request", name, frame)?;
        if frame.len() < 300 {
            let length = u32::try_from(frame.len())?.to_be_bytes();
            self.put("frame", name, &[b"\0\x05", &length[..], frame].concat())?;
        }
        let Ok(read) = RequestFrame::decode(Bytes::copy_from_slice(frame)) else {
            return Ok(());
        };
        self.put("skim", name, &[&frame[..4], &read.body].concat())?;
        if let Ok(Request::Produce(request)) = Request::decode(&read.header, read.body) {
            let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
            for (index, records) in partitions.filter_map(|p| p.records.as_ref()).enumerate() {
                self.records(&format!("{name}-{index}"), records)?;
            }
        }
        Ok(())
    }

    fn records(&self, name: &str, records: &Bytes) -> Result<(), Box<dyn Error>> {
        for flags in [0_u8, 0x23] {
            let seed = [&[flags], &records[..]].concat();
            self.put("batch", &format!("{name}-{flags}"), &seed)?;
        }
        for batch in batches(records).map_while(Result::ok) {
            let codec = records_codec(&batch.header);
            let payload = &records[batch.range.start + HEADER_BYTES..batch.range.end];
            self.put("decompress", name, &[&[codec], payload].concat())?;
        }
        Ok(())
    }

    /// The first blocks of each WAL file, to be mended and linked.
    fn data(&self, data: &Path) -> Result<(), Box<dyn Error>> {
        for (index, entry) in (0_u8..).zip(fs::read_dir(data.join("wal"))?) {
            let bytes = fs::read(entry?.path())?;
            for blocks in [5, 20] {
                let part = &bytes[..bytes.len().min(blocks * 4096)];
                let mut seed = vec![7];
                image::encode(0x80, part, &mut seed);
                if seed.len() > 100 && seed.len() < 48 << 10 {
                    self.put("wal", &format!("real-{index}-{blocks}"), &seed)?;
                }
            }
        }
        Ok(())
    }
}

fn records_codec(header: &BatchHeader) -> u8 {
    header.codec().id()
}

fn main() -> Result<(), Box<dyn Error>> {
    let from = PathBuf::from(std::env::args().nth(1).ok_or("where is it recorded?")?);
    let corpora = Corpora(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"));
    for entry in fs::read_dir(from.join("frames"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        corpora.frame(&name, &fs::read(entry.path())?)?;
    }
    corpora.data(&from.join("data"))?;
    for pick in 0..40_u8 {
        let said: Vec<u8> = (0..200_u8)
            .map(|at| at.wrapping_mul(pick | 1) % 7)
            .collect();
        corpora.put(
            "response",
            &format!("made-{pick:02}"),
            &[&[pick], &said[..]].concat(),
        )?;
    }
    Ok(())
}
