//! What disk and loopback can do by themselves: the references beside every figure of a broker.

mod disk;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::ensure;

use crate::clock;
use crate::machine;
use crate::poller::Wait;
use crate::times::Times;

pub(crate) use disk::RawDisk;

/// What is done before it counts.
const WARM_UP: usize = 200;

/// What goes over the loopback in a round trip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trip {
    pub(crate) request_bytes: usize,
    pub(crate) answer_bytes: usize,
    /// Of both sides.
    pub(crate) wait: Wait,
}

/// Round trips between two plain threads on two cores.
pub(crate) fn round_trips(
    trip: Trip,
    server_cpu: usize,
    client_cpu: usize,
    lasting_ns: u64,
) -> anyhow::Result<Times> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let addr = listener.local_addr()?;
    let server = move || -> anyhow::Result<()> {
        machine::pin(server_cpu)?;
        let mut stream = prepared(listener.accept()?.0, trip.wait)?;
        let (mut request, answer) = (vec![0; trip.request_bytes], vec![7; trip.answer_bytes]);
        while receive(&mut stream, &mut request)? {
            send(&mut stream, &answer)?;
        }
        Ok(())
    };
    let server = std::thread::spawn(server);
    let times = machine::on_cpu(client_cpu, || {
        let mut stream = prepared(TcpStream::connect(addr)?, trip.wait)?;
        let (request, mut answer) = (vec![7; trip.request_bytes], vec![0; trip.answer_bytes]);
        let (mut times, mut index) = (Times::default(), 0_usize);
        let end_ns = clock::now_ns() + lasting_ns;
        while index <= WARM_UP || clock::now_ns() < end_ns {
            let began_ns = clock::now_ns();
            send(&mut stream, &request)?;
            ensure!(receive(&mut stream, &mut answer)?, "the other side left");
            if index >= WARM_UP {
                times.record(clock::now_ns() - began_ns);
            }
            index += 1;
        }
        Ok(times)
    });
    let served = server
        .join()
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the other side panicked")));
    let times = times?;
    served?;
    Ok(times)
}

/// Bytes a second that go from one plain thread to another when both spin and neither waits for the
/// other, a MiB a call.
pub(crate) fn stream(server_cpu: usize, client_cpu: usize, lasting_ns: u64) -> anyhow::Result<f64> {
    const STEP: usize = 1 << 20;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let addr = listener.local_addr()?;
    let server = move || -> anyhow::Result<()> {
        machine::pin(server_cpu)?;
        let mut stream = prepared(listener.accept()?.0, Wait::Spin)?;
        let bytes = vec![7; STEP];
        loop {
            // It ends when the reader has had its time and leaves.
            if send(&mut stream, &bytes).is_err() {
                return Ok(());
            }
        }
    };
    let server = std::thread::spawn(server);
    let rate = machine::on_cpu(client_cpu, || {
        let mut stream = prepared(TcpStream::connect(addr)?, Wait::Spin)?;
        let mut into = vec![0; STEP];
        for _ in 0..WARM_UP {
            ensure!(receive(&mut stream, &mut into)?, "the other side left");
        }
        let (mut total, began_ns) = (0_u64, clock::now_ns());
        while total == 0 || clock::now_ns() < began_ns + lasting_ns {
            ensure!(receive(&mut stream, &mut into)?, "the other side left");
            total += STEP as u64;
        }
        Ok(total as f64 * 1e9 / (clock::now_ns() - began_ns) as f64)
    });
    let served = server
        .join()
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the other side panicked")));
    let rate = rate?;
    served?;
    Ok(rate)
}

fn prepared(stream: TcpStream, wait: Wait) -> anyhow::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(wait == Wait::Spin)?;
    Ok(stream)
}

fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// False when the other side has ended.
fn receive(stream: &mut TcpStream, mut into: &mut [u8]) -> anyhow::Result<bool> {
    while !into.is_empty() {
        match stream.read(into) {
            Ok(0) => return Ok(false),
            Ok(count) => into = &mut into[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// One connection of a client of Redis that sets a value of `bytes` again and again, spinning.
pub(crate) fn redis_sets(
    addr: SocketAddr,
    bytes: usize,
    client_cpu: usize,
    lasting_ns: u64,
) -> anyhow::Result<Times> {
    const OK: &[u8] = b"+OK\r\n";
    let mut request = format!("*3\r\n$3\r\nSET\r\n$4\r\nperf\r\n${bytes}\r\n").into_bytes();
    request.extend(vec![b'x'; bytes]);
    request.extend(b"\r\n");
    machine::on_cpu(client_cpu, || {
        let mut stream = prepared(TcpStream::connect(addr)?, Wait::Spin)?;
        let (mut times, mut index, mut answer) = (Times::default(), 0_usize, [0; OK.len()]);
        let end_ns = clock::now_ns() + lasting_ns;
        while index <= WARM_UP || clock::now_ns() < end_ns {
            let began_ns = clock::now_ns();
            send(&mut stream, &request)?;
            ensure!(
                receive(&mut stream, &mut answer)? && answer == OK,
                "Redis refused a SET"
            );
            if index >= WARM_UP {
                times.record(clock::now_ns() - began_ns);
            }
            index += 1;
        }
        Ok(times)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_measured_by_blocking_threads() {
        let cpus = machine::usable_cpus().unwrap();
        let trip = Trip {
            request_bytes: 1100,
            answer_bytes: 60,
            wait: Wait::Park,
        };
        let times = round_trips(trip, cpus[0], cpus[cpus.len() - 1], 1_000_000).unwrap();
        assert!(times.len() > 0 && times.ns(0.5) > 0);
    }

    #[test]
    fn a_stream_over_the_loopback_has_a_rate() {
        let cpus = machine::usable_cpus().unwrap();
        let rate = stream(cpus[0], cpus[cpus.len() - 1], 1_000_000).unwrap();
        assert!(rate > 1e6, "{rate}");
    }
}
