use std::io::Write as _;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::*;
use crate::builder::{BatchBuilder, NewRecord};
use crate::error::ErrorKind;
use crate::validate::{ValidationRules, validate};

const MIB: usize = 1 << 20;

fn packed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(compression, bytes, &mut out, &mut Workspace::new());
    out
}

fn unpacked_in(
    codec: Codec,
    bytes: &[u8],
    limits: &Limits,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, RecordError> {
    let mut from = Decompressor::new(codec, bytes, limits, workspace)?;
    let mut out = Vec::new();
    loop {
        let chunk = from.fill()?;
        if chunk.is_empty() {
            return Ok(out);
        }
        out.extend_from_slice(chunk);
        let len = chunk.len();
        from.consume(len);
    }
}

fn unpacked(codec: Codec, bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
    unpacked_in(codec, bytes, &Limits::default(), &mut Workspace::new())
}

/// Bytes that compress somewhat.
fn sample(len: usize) -> Vec<u8> {
    let mut x = 1u32;
    (0..len)
        .map(|i| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i % 100 < 30 {
                (x >> 24) as u8
            } else {
                b'a' + (i % 13) as u8
            }
        })
        .collect()
}

#[test]
fn every_level_of_every_codec_comes_back() {
    let bytes = sample(200_000);
    let levels = [
        (Codec::Gzip, -1..=9),
        (Codec::Lz4, 1..=17),
        (Codec::Zstd, -5..=22),
        (Codec::Snappy, 0..=0),
    ];
    for (codec, levels) in levels {
        for level in levels.filter(|level| !(codec == Codec::Gzip && *level == 0)) {
            let compression = Compression::with_level(codec, level).unwrap();
            let packed = packed(compression, &bytes);
            assert!(packed.len() < bytes.len(), "{codec} {level}");
            assert_eq!(unpacked(codec, &packed).unwrap(), bytes, "{codec} {level}");
        }
    }
}

#[test]
fn levels_are_kafka_s() {
    for (codec, good, bad) in [
        (Codec::Gzip, &[-1, 1, 9][..], &[-2, 0, 10][..]),
        (Codec::Lz4, &[1, 17], &[0, 18, -1]),
        (Codec::Zstd, &[-131_072, 0, 22], &[-131_073, 23]),
    ] {
        assert!(
            good.iter()
                .all(|level| Compression::with_level(codec, *level).is_ok())
        );
        assert!(
            bad.iter()
                .all(|level| Compression::with_level(codec, *level).is_err())
        );
        assert!(Compression::with_level(codec, Compression::of(codec).level()).is_ok());
    }
}

#[test]
fn sizes_around_the_block_bounds_come_back() {
    for len in [
        0, 1, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 131_072, 131_073,
    ] {
        let bytes = sample(len);
        for codec in Codec::ALL {
            assert_eq!(
                unpacked(codec, &packed(Compression::of(codec), &bytes)).unwrap(),
                bytes,
                "{codec} {len}"
            );
        }
    }
}

#[test]
fn writing_in_parts_gives_the_same_as_writing_at_once() {
    let bytes = sample(300_000);
    for codec in [Codec::Snappy, Codec::Lz4] {
        let mut out = Vec::new();
        let mut workspace = Workspace::new();
        let mut sink = Compressor::new(Compression::of(codec), &mut out, &mut workspace.encoding);
        bytes.chunks(7_001).for_each(|part| sink.write(part));
        sink.finish();
        assert_eq!(out, packed(Compression::of(codec), &bytes), "{codec}");
    }
}

#[test]
fn incompressible_bytes_are_stored() {
    let mut x = 7u64;
    let bytes: Vec<u8> = (0..100_000)
        .map(|_| {
            x = x
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .collect();
    for codec in Codec::ALL {
        let packed = packed(Compression::of(codec), &bytes);
        assert!(
            packed.len() < bytes.len() + 200,
            "{codec}: {}",
            packed.len()
        );
        assert_eq!(unpacked(codec, &packed).unwrap(), bytes);
    }
}

#[test]
fn bytes_cut_off_are_an_error_or_too_few() {
    let bytes = sample(70_000);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let packed = packed(Compression::of(codec), &bytes);
        let ends = (1..100).chain(packed.len() - 100..packed.len());
        for end in ends {
            // Snappy has no end mark: a cut between blocks is seen by the record count.
            let Ok(short) = unpacked(codec, &packed[..end]) else {
                continue;
            };
            assert_eq!(codec, Codec::Snappy, "cut at {end}");
            assert!(short.len() < bytes.len());
        }
    }
}

#[test]
fn one_workspace_serves_all_codecs_in_turn_and_after_errors() {
    let bytes = sample(100_000);
    let mut workspace = Workspace::new();
    for _ in 0..3 {
        for codec in Codec::ALL {
            let packed = packed(Compression::of(codec), &bytes);
            if codec != Codec::None {
                let cut = &packed[..packed.len() / 2];
                let _ = unpacked_in(codec, cut, &Limits::default(), &mut workspace);
            }
            assert_eq!(
                unpacked_in(codec, &packed, &Limits::default(), &mut workspace).unwrap(),
                bytes
            );
        }
    }
}

fn lz4_frame(info: FrameInfo, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    for part in bytes.chunks(50_000) {
        encoder.write_all(part).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn lz4_frames_of_all_flags_and_block_sizes_come_back() {
    let bytes = sample(9 * MIB);
    for block_size in [
        BlockSize::Max64KB,
        BlockSize::Max256KB,
        BlockSize::Max1MB,
        BlockSize::Max4MB,
    ] {
        for block_mode in [BlockMode::Independent, BlockMode::Linked] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_size(block_size)
                    .block_mode(block_mode)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(checksums.then_some(bytes.len() as u64));
                let frame = lz4_frame(info, &bytes);
                assert!(unpacked(Codec::Lz4, &frame).unwrap() == bytes);
                if checksums {
                    let mut flipped = frame.clone();
                    let at = flipped.len() - 2;
                    flipped[at] ^= 1;
                    assert!(
                        unpacked(Codec::Lz4, &flipped).is_err(),
                        "the content's checksum"
                    );
                    let mut flipped = frame;
                    flipped[20] ^= 1;
                    assert!(
                        unpacked(Codec::Lz4, &flipped).is_err(),
                        "a block's checksum"
                    );
                }
            }
        }
    }
}

#[test]
fn lz4_linked_blocks_refer_across_many_small_blocks() {
    // Flushing makes blocks far smaller than the history they refer to.
    let bytes = sample(200_000);
    let info = FrameInfo::new().block_mode(BlockMode::Linked);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    for part in bytes.chunks(999) {
        encoder.write_all(part).unwrap();
        encoder.flush().unwrap();
    }
    assert_eq!(
        unpacked(Codec::Lz4, &encoder.finish().unwrap()).unwrap(),
        bytes
    );
}

#[test]
fn frames_one_after_another_and_frames_to_skip_are_read() {
    let bytes = sample(10_000);
    let twice = bytes.repeat(2);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let one = packed(Compression::of(codec), &bytes);
        assert_eq!(unpacked(codec, &one.repeat(2)).unwrap(), twice, "{codec}");
        if matches!(codec, Codec::Lz4 | Codec::Zstd) {
            let skipped = [
                &0x184d_2a53_u32.to_le_bytes()[..],
                &5u32.to_le_bytes(),
                b"12345",
                &one,
            ]
            .concat();
            assert_eq!(unpacked(codec, &skipped).unwrap(), bytes, "{codec}");
        }
    }
}

#[test]
fn snappy_without_framing_is_read() {
    let bytes = sample(100_000);
    let block = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
    assert_eq!(unpacked(Codec::Snappy, &block).unwrap(), bytes);
}

#[test]
fn a_snappy_block_s_claim_is_not_believed() {
    // It claims 100 MB and then 4 GB, and holds 5 bytes.
    for claim in [
        &[0x80, 0xc2, 0xd7, 0x2f][..],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ] {
        let mut workspace = Workspace::new();
        let block = [claim, &[0, b'x']].concat();
        assert!(unpacked_in(Codec::Snappy, &block, &Limits::default(), &mut workspace).is_err());
        assert_eq!(workspace.held_bytes(), 0, "nothing was allocated for it");
    }
}

#[test]
fn an_lz4_frame_s_block_size_is_not_believed() {
    let mut workspace = Workspace::new();
    let frame = lz4_frame(FrameInfo::new().block_size(BlockSize::Max4MB), &[b'x'; 300]);
    unpacked_in(Codec::Lz4, &frame, &Limits::default(), &mut workspace).unwrap();
    assert!(
        workspace.held_bytes() <= frame.len() * 255,
        "{}",
        workspace.held_bytes()
    );
}

#[test]
fn a_zstd_window_over_the_limit_is_refused() {
    let packed = packed(
        Compression::with_level(Codec::Zstd, 22).unwrap(),
        &sample(1000),
    );
    let limits = |zstd_window_log_max| Limits {
        zstd_window_log_max,
        ..Limits::default()
    };
    assert!(unpacked_in(Codec::Zstd, &packed, &limits(27), &mut Workspace::new()).is_ok());
    let error = unpacked_in(Codec::Zstd, &packed, &limits(23), &mut Workspace::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
}

/// Memory that reading 100 MB of zeros may hold.
fn held_bytes_max(codec: Codec) -> usize {
    match codec {
        Codec::None => 0,
        Codec::Gzip | Codec::Snappy => 64 << 10,
        Codec::Lz4 => 128 << 10,
        // Context, window of level 3 and chunk.
        Codec::Zstd => 3 * MIB,
    }
}

#[test]
fn a_bomb_stops_at_the_limit_with_little_memory() {
    let zeros = vec![0; 100_000_000];
    let limits = Limits {
        decompressed_bytes_max: 16 * MIB as u64,
        ..Limits::default()
    };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = packed(Compression::of(codec), &zeros);
        let mut workspace = Workspace::new();
        let error = unpacked_in(codec, &bomb, &limits, &mut workspace).unwrap_err();
        assert_eq!(
            error,
            RecordError::DecompressedTooLarge {
                bytes_max: limits.decompressed_bytes_max
            }
        );
        let held = workspace.held_bytes();
        assert!(held <= held_bytes_max(codec), "{codec}: {held}");
    }
    let mut workspace = Workspace::new();
    let block = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    assert!(unpacked_in(Codec::Snappy, &block, &limits, &mut workspace).is_err());
    assert_eq!(workspace.held_bytes(), 0, "a bare block is refused unread");
}

#[test]
fn a_record_of_any_size_is_checked_with_little_memory() {
    let zeros = vec![0; 100_000_000];
    let record = NewRecord {
        timestamp: 0,
        key: Some(&zeros[..70_000]),
        value: Some(&zeros),
        headers: &[],
    };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = BatchBuilder::new()
            .compression(Compression::of(codec))
            .record(record)
            .build();
        let rules = ValidationRules {
            batch_bytes_max: bomb.len(),
            key_required: true,
            ..Default::default()
        };
        let mut workspace = Workspace::new();
        validate(&bomb, &rules, 0, &mut workspace).unwrap();
        let held = workspace.held_bytes();
        assert!(held <= held_bytes_max(codec), "{codec}: {held}");
    }
}

#[test]
fn a_workspace_gives_back_what_an_unusual_batch_made_it_grow_to() {
    let mut workspace = Workspace::new();
    let bytes = sample(20 * MIB);
    let block = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
    unpacked_in(Codec::Snappy, &block, &Limits::default(), &mut workspace).unwrap();
    let ultra = packed(Compression::with_level(Codec::Zstd, 22).unwrap(), &bytes);
    unpacked_in(Codec::Zstd, &ultra, &Limits::default(), &mut workspace).unwrap();
    assert!(workspace.held_bytes() > 100 * MIB);
    workspace.trim();
    assert!(
        workspace.held_bytes() <= 5 * MIB,
        "{}",
        workspace.held_bytes()
    );
}
