//! Answers to Produce and Fetch with any content in any version: the length is right, records are
//! slices, and kafka-protocol reads what was said. The first byte picks API and version.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::request::header;
use tailwater_fuzz::response::{Feed, check_fetch, check_produce};
use tailwater_wire::{ApiKey, Response, encode_response};

fn body(api: ApiKey, version: i16, response: Response) -> Bytes {
    let header = header((api, version));
    let encoded = encode_response(&header, response).expect("each version can say it");
    let whole = Bytes::from(encoded.pieces.concat());
    assert_eq!(whole.len(), encoded.total_bytes);
    let length = u32::try_from(whole.len() - 4).unwrap_or(u32::MAX);
    assert_eq!(whole[..4], length.to_be_bytes());
    let tags = usize::from(api.response_header_is_flexible(version));
    whole.slice(8 + tags..)
}

fuzz_target!(|input: &[u8]| {
    let mut feed = Feed(input);
    let pick = i16::from(feed.u8());
    let api = [ApiKey::Produce, ApiKey::Fetch][usize::from(pick % 2 == 1)];
    let served = api.row().served;
    let version = served.min + (pick / 2) % (served.max - served.min + 1);
    if api == ApiKey::Produce {
        let said = feed.produce(version);
        let body = body(api, version, Response::Produce(said.clone()));
        check_produce(&said, body, version);
    } else {
        let said = feed.fetch(version);
        let body = body(api, version, Response::Fetch(said.clone()));
        check_fetch(&said, body, version);
    }
});
