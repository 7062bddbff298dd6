//! From text to values, each with the sentence that says what was expected.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// A whole number within `least..=most`.
pub(crate) fn number<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    let expected = || format!("expected a whole number from {least} to {most}");
    let value: T = text.trim().parse().map_err(|_| expected())?;
    if value < least || value > most {
        Err(expected())
    } else {
        Ok(value)
    }
}

/// A size in bytes: `4096`, `64KiB`, `1GB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    text.trim()
        .parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| "expected a size such as 268435456, 256MiB or 1GiB".to_owned())
}

/// A time within `least..=most`: `500us`, `5ms`, `1s`.
pub(crate) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let expected =
        || format!("expected a time such as 500us, 5ms or 1s, from {least:?} to {most:?}");
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let micros = match unit.trim() {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return Err(expected()),
    };
    let time = Duration::from_micros(number.saturating_mul(micros));
    if (least..=most).contains(&time) {
        Ok(time)
    } else {
        Err(expected())
    }
}

/// An address to listen on. A name is resolved; its first address counts.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected HOST:PORT";
    text.to_socket_addrs()
        .map_err(|_| expected.to_owned())?
        .next()
        .ok_or(expected.to_owned())
}

/// Cores such as `0,2-3`, in the order given, none twice.
pub(crate) fn cpu_list(text: &str) -> Result<Vec<usize>, String> {
    const CPUS_MAX: usize = 4096;
    let expected = || "expected cores such as 0,2-3, each at most once".to_owned();
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part
            .trim()
            .split_once('-')
            .unwrap_or((part.trim(), part.trim()));
        let first: usize = first.parse().map_err(|_| expected())?;
        let last: usize = last.parse().map_err(|_| expected())?;
        if first > last || last >= CPUS_MAX {
            return Err(expected());
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(expected());
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// One of a few words.
pub(crate) fn words<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices
        .iter()
        .find(|(word, _)| *word == text.trim())
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let all: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            format!("expected {}", all.join(", "))
        })
}
