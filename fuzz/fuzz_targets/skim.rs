//! The skim of any body of any API and version: it answers, within its memory; what it lets pass it
//! lets pass again unchanged. The first four bytes are or pick API and version.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::memory::bounded;
use tailwater_fuzz::request::row;
use tailwater_wire::skim::{check, decoded_bytes_max};

fuzz_target!(init: {
    // The table of shapes is made once, and is nobody's request.
    let _ = check(tailwater_wire::ApiKey::ApiVersions, 0, Bytes::new());
}, |input: &[u8]| {
    let &[k, l, v, w, ref body @ ..] = input else {
        return;
    };
    let (api, version) = row([k, l], [v, w]);
    let body = Bytes::copy_from_slice(body);
    let limit = decoded_bytes_max(body.len());
    let passed = bounded("the skim", limit, || check(api, version, body.clone()));
    if let Ok(plain) = passed {
        assert_eq!(check(api, version, plain.clone()).as_ref(), Ok(&plain));
    }
});
