//! Files of a data directory in few bytes: what fuzz inputs for recovery look like.
//!
//! An input is a byte of flags, then files: a byte that picks the name, a byte with the number of
//! blocks, and each block as a length of two bytes (little endian) and as many bytes; the rest of
//! the block is zeros.

use tailwater_shards::BLOCK_BYTES;

/// A file of an input.
pub struct Image {
    /// Picks the file's name.
    pub name: u8,
    /// Whole blocks.
    pub bytes: Vec<u8>,
}

/// The files of an input after its flags.
pub fn decode(mut input: &[u8]) -> Vec<Image> {
    let mut files = Vec::new();
    while let &[name, blocks, ref rest @ ..] = input {
        input = rest;
        let mut bytes = Vec::new();
        for _ in 0..blocks {
            let Some((length, rest)) = input.split_first_chunk::<2>() else {
                break;
            };
            let length = usize::from(u16::from_le_bytes(*length)) % (BLOCK_BYTES + 1);
            let (block, rest) = rest.split_at(length.min(rest.len()));
            input = rest;
            let begin = bytes.len();
            bytes.resize(begin + BLOCK_BYTES, 0);
            bytes[begin..begin + block.len()].copy_from_slice(block);
        }
        files.push(Image { name, bytes });
    }
    files
}

/// A file as [`decode`] reads it: at most 255 blocks, without those of zeros at its end.
pub fn encode(name: u8, bytes: &[u8], into: &mut Vec<u8>) {
    let used = |block: &[u8]| block.len() - block.iter().rev().take_while(|b| **b == 0).count();
    let blocks: Vec<&[u8]> = bytes.chunks(BLOCK_BYTES).take(255).collect();
    let count = blocks.iter().rposition(|block| used(block) > 0);
    let blocks = &blocks[..count.map_or(0, |last| last + 1)];
    into.push(name);
    into.push(u8::try_from(blocks.len()).unwrap_or(u8::MAX));
    for block in blocks {
        let length = used(block);
        into.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_le_bytes());
        into.extend_from_slice(&block[..length]);
    }
}
