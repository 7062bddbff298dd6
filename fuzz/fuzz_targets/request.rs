//! Every request decoder. A frame's first four bytes are or pick API and version. Whatever the rest
//! is: an answer, within the memory that the skim promises; and what was decoded is decoded again
//! from what kafka-protocol encodes of it.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::memory::bounded;
use tailwater_fuzz::request::{encoded, row, rows};
use tailwater_wire::skim::{check, decoded_bytes_max};
use tailwater_wire::{ApiKey, Request, RequestFrame};

fuzz_target!(init: {
    for (api, version) in rows() {
        let _ = check(api, version, Bytes::new());
    }
}, |input: &[u8]| {
    let &[k, l, v, w, ref rest @ ..] = input else {
        return;
    };
    let (api, version) = row([k, l], [v, w]);
    let mut frame = BytesMut::with_capacity(input.len());
    frame.extend_from_slice(&api.key().to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(rest);
    let frame = frame.freeze();
    // Of the header only the client id may be copied: three bytes for each that is not UTF-8.
    let header_max = 8 * frame.len() + 256;
    let Ok(frame) = bounded("the header", header_max, || RequestFrame::decode(frame)) else {
        return;
    };
    let skimmed = check(api, version, frame.body.clone());
    let limit = decoded_bytes_max(frame.body.len());
    let decoded = bounded("a request", limit, || Request::decode(&frame.header, frame.body.clone()));
    if !matches!(api, ApiKey::Produce | ApiKey::Fetch) && skimmed.is_err() {
        assert!(decoded.is_err(), "{api:?} {version}: decoded what the skim refuses");
    }
    let Ok(request) = decoded else {
        return;
    };
    if let Some(body) = encoded(&request, version) {
        let again = Request::decode(&frame.header, body);
        assert_eq!(again.as_ref(), Ok(&request), "{api:?} {version}");
    }
});
