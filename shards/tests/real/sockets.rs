//! Sockets over the loopback.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tailwater_shards::{self as shards, Accepted, Listener, ShardId, Shutdown, Stream};

use super::support::on_shards;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Two ends of a connection on this shard.
async fn pair() -> (Stream, Stream) {
    let listener = Listener::bind(ANY_PORT).unwrap();
    let addr = listener.local_addr().unwrap();
    let client = shards::spawn("connect", async move { Stream::connect(addr).await });
    let server = listener.accept().await.unwrap().into_stream().unwrap();
    (client.await.unwrap().unwrap(), server)
}

async fn read_exact(stream: &Stream, mut buf: &mut [u8]) {
    while !buf.is_empty() {
        let count = stream.read(buf).await.unwrap();
        assert_ne!(count, 0, "closed early");
        buf = &mut buf[count..];
    }
}

/// Slices of many sizes, empty ones too, with bytes that tell where they belong.
fn slices(count: usize) -> Vec<Bytes> {
    let mut next = 0u32;
    (0..count)
        .map(|index| {
            let len = [0, 1, 13, 4096, 20_000][index % 5];
            let bytes = (0..len).map(|_| {
                next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (next >> 24) as u8
            });
            bytes.collect()
        })
        .collect()
}

#[test]
fn a_large_vectored_write_arrives_whole_at_a_slow_reader() {
    on_shards(1, |_| async {
        let (client, server) = pair().await;
        // More slices than one call takes, and more bytes than the socket's buffers.
        let sent = slices(3000);
        let expected = sent.concat();
        assert!(expected.len() > 8 << 20);
        let writer = shards::spawn("writer", async move {
            client.write_vectored_all(&sent).await.unwrap();
            client
        });
        let mut got = vec![0; expected.len()];
        for (index, part) in got.chunks_mut(7001).enumerate() {
            if index % 64 == 0 {
                // The writer fills the buffers meanwhile.
                shards::sleep(std::time::Duration::from_micros(200)).await;
            }
            read_exact(&server, part).await;
        }
        assert!(got == expected, "the bytes differ");
        drop(writer.await.unwrap());
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn nothing_to_send_is_sent() {
    on_shards(1, |_| async {
        let (client, server) = pair().await;
        client.write_vectored_all(&[]).await.unwrap();
        client
            .write_vectored_all(&[Bytes::new(), Bytes::new()])
            .await
            .unwrap();
        client
            .write_vectored_all(&[Bytes::new(), Bytes::from_static(b"x")])
            .await
            .unwrap();
        let mut buf = [0; 8];
        assert_eq!(server.read(&mut buf).await.unwrap(), 1);
        assert_eq!(server.read(&mut []).await.unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn a_read_and_a_write_of_one_stream_are_in_progress_at_once() {
    on_shards(1, |_| async {
        let (client, server) = pair().await;
        let bytes = Bytes::from(vec![7; 4 << 20]);
        let send = bytes.clone();
        // Both ends write 4 MiB before either has read it all: each must read meanwhile.
        let ends = [client, server].map(|stream| {
            let send = send.clone();
            shards::spawn("end", async move {
                let mut got = vec![0; 4 << 20];
                let sends = [send];
                let (sent, ()) = futures_util::join!(
                    stream.write_vectored_all(&sends),
                    read_exact(&stream, &mut got)
                );
                sent.unwrap();
                got
            })
        });
        for end in ends {
            assert!(end.await.unwrap() == bytes);
        }
    })
    .unwrap();
}

#[test]
fn an_accepted_socket_is_handed_to_another_shard() {
    let (sender, receiver) = channel::<Accepted>();
    let receiver = Arc::new(Mutex::new(receiver));
    let done = Shutdown::new();
    on_shards(2, move |id| {
        let (sender, receiver, done) = (sender.clone(), Arc::clone(&receiver), done.clone());
        async move {
            if id == ShardId(1) {
                let accepted = receiver.lock().unwrap().recv().unwrap();
                let peer = accepted.peer_addr().unwrap();
                let stream = accepted.into_stream().unwrap();
                assert_eq!(stream.peer_addr().unwrap(), peer);
                let mut buf = [0; 4];
                read_exact(&stream, &mut buf).await;
                stream
                    .write_vectored_all(&[Bytes::copy_from_slice(&buf)])
                    .await
                    .unwrap();
                done.triggered().await;
                return;
            }
            let listener = Listener::bind(ANY_PORT).unwrap();
            let addr = listener.local_addr().unwrap();
            let client = shards::spawn("connect", async move { Stream::connect(addr).await });
            sender.send(listener.accept().await.unwrap()).unwrap();
            let client = client.await.unwrap().unwrap();
            client
                .write_vectored_all(&[Bytes::from_static(b"ping")])
                .await
                .unwrap();
            let mut buf = [0; 4];
            read_exact(&client, &mut buf).await;
            assert_eq!(&buf, b"ping");
            done.trigger();
        }
    })
    .unwrap();
}

#[test]
fn an_accepted_socket_that_nobody_takes_is_closed() {
    on_shards(1, |_| async {
        let listener = Listener::bind(ANY_PORT).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = shards::spawn("connect", async move { Stream::connect(addr).await });
        drop(listener.accept().await.unwrap());
        let client = client.await.unwrap().unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn a_dropped_stream_is_closed_at_once_although_a_read_waits_in_the_ring() {
    on_shards(1, |_| async {
        let (client, server) = pair().await;
        {
            let mut buf = [0; 1];
            let mut read = std::pin::pin!(server.read(&mut buf));
            assert!(futures_util::poll!(&mut read).is_pending());
        }
        shards::yield_now().await;
        drop(server);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn writing_to_a_closed_peer_is_an_error_and_not_a_signal() {
    on_shards(1, |_| async {
        let (client, server) = pair().await;
        drop(server);
        let bytes = [Bytes::from(vec![0; 1 << 20])];
        let error = loop {
            if let Err(error) = client.write_vectored_all(&bytes).await {
                break error;
            }
        };
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
    })
    .unwrap();
}

#[test]
fn a_port_in_use_is_an_error_and_free_again_after_the_shard_ended() {
    let (sender, receiver) = channel();
    on_shards(1, move |_| {
        let sender = sender.clone();
        async move {
            let listener = Listener::bind(ANY_PORT).unwrap();
            let addr = listener.local_addr().unwrap();
            let taken = Listener::bind(addr).unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AddrInUse);
            // Left waiting: the end of the shard must close it.
            shards::spawn("accept", async move { listener.accept().await.map(drop) }).detach();
            shards::yield_now().await;
            sender.send(addr).unwrap();
        }
    })
    .unwrap();
    let addr = receiver.recv().unwrap();
    on_shards(1, move |_| async move {
        Listener::bind(addr).unwrap();
    })
    .unwrap();
}

#[test]
fn connecting_to_nobody_is_refused() {
    on_shards(1, |_| async {
        let listener = Listener::bind(ANY_PORT).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let error = Stream::connect(addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    })
    .unwrap();
}

#[test]
fn an_accept_that_is_given_up_loses_no_connection() {
    on_shards(1, |_| async {
        let listener = Listener::bind(ANY_PORT).unwrap();
        let addr = listener.local_addr().unwrap();
        for _ in 0..50 {
            let client = shards::spawn("connect", async move { Stream::connect(addr).await });
            // Given up again and again while the connection comes in.
            let server = loop {
                let mut accept = Box::pin(listener.accept());
                if let std::task::Poll::Ready(accepted) = futures_util::poll!(&mut accept) {
                    break accepted.unwrap();
                }
                shards::yield_now().await;
                drop(accept);
            };
            let server = server.into_stream().unwrap();
            let client = client.await.unwrap().unwrap();
            assert_eq!(client.local_addr().unwrap(), server.peer_addr().unwrap());
        }
    })
    .unwrap();
}
