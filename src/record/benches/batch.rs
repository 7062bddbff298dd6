//! What checking and rewriting one batch costs: `cargo bench -p tailwater-record`.
//!
//! Batches of 1 KiB and 16 KiB (uncompressed) of records of 100 bytes and of one record, whose text
//! compresses to about a third.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tailwater_record::{
    BatchBuilder, BatchHeader, Codec, Compression, NewRecord, TimestampType, ValidationRules, Walk,
    Workspace, computed_crc, rewrite, validate,
};

const NOW: i64 = 1_700_000_000_000;
const WORDS: [&str; 16] = [
    "offset",
    "partition",
    "commit",
    "durable",
    "the",
    "of",
    "leader",
    "epoch",
    "record",
    "a",
    "batch",
    "segment",
    "fetch",
    "produce",
    "tail",
    "water",
];

fn text(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 32);
    let mut x = 1u64;
    while text.len() < bytes {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(
            WORDS
                .get((x >> 60) as usize)
                .copied()
                .unwrap_or_default()
                .as_bytes(),
        );
        text.extend_from_slice(format!(" {} ", (x >> 40) & 0xfff).as_bytes());
    }
    text.truncate(bytes);
    text
}

fn batch(codec: Codec, batch_bytes: usize, record_bytes: usize) -> Bytes {
    let text = text(batch_bytes);
    let mut builder = BatchBuilder::new()
        .compression(Compression::of(codec))
        .producer(1, 0, 0);
    for value in text.chunks(record_bytes) {
        builder.push(NewRecord {
            timestamp: NOW,
            key: None,
            value: Some(value),
            headers: &[],
        });
    }
    builder.build()
}

fn crc(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc");
    for size in [1 << 10, 16 << 10, 1 << 20] {
        let batch = batch(Codec::None, size, size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &batch, |b, batch| {
            b.iter(|| computed_crc(black_box(batch)));
        });
    }
    group.finish();
}

fn header(c: &mut Criterion) {
    let batch = batch(Codec::None, 1 << 10, 100);
    c.bench_function("header/parse", |b| {
        b.iter(|| BatchHeader::parse(black_box(&batch)))
    });
}

fn validation(c: &mut Criterion) {
    for (walk, name) in [
        (Walk::Records, "validate"),
        (Walk::HeaderOnly, "validate_header"),
    ] {
        let mut group = c.benchmark_group(name);
        let rules = ValidationRules {
            walk,
            ..ValidationRules::default()
        };
        for codec in Codec::ALL {
            for (size, record) in [
                (1 << 10, 1 << 10),
                (1 << 10, 100),
                (16 << 10, 16 << 10),
                (16 << 10, 100),
            ] {
                let batch = batch(codec, size, record);
                let mut workspace = Workspace::new();
                let id = BenchmarkId::new(codec.name(), format!("{size}/{record}"));
                group.throughput(Throughput::Bytes(size as u64));
                group.bench_with_input(id, &batch, |b, batch| {
                    b.iter(|| validate(black_box(batch), &rules, NOW, &mut workspace));
                });
            }
        }
        group.finish();
    }
}

fn rewriting(c: &mut Criterion) {
    let mut group = c.benchmark_group("rewrite");
    let batch = batch(Codec::None, 16 << 10, 100);
    group.throughput(Throughput::Bytes(16 << 10));
    for codec in Codec::ALL {
        let timestamp_type = TimestampType::LogAppendTime;
        let compression = Some(Compression::of(codec));
        let rules = ValidationRules {
            timestamp_type,
            compression,
            ..ValidationRules::default()
        };
        let mut workspace = Workspace::new();
        let valid = validate(&batch, &rules, NOW, &mut workspace).expect("the batch is good");
        group.bench_with_input(BenchmarkId::new("to", codec.name()), &batch, |b, batch| {
            b.iter(|| rewrite(black_box(batch), &valid, &rules, &mut workspace));
        });
    }
    group.finish();
}

criterion_group!(benches, crc, header, validation, rewriting);
criterion_main!(benches);
