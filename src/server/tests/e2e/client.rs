//! A client that speaks Kafka's protocol, one connection.

use std::cell::Cell;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tailwater_shards::Stream;

use crate::cluster::addr;

/// One connection to the server.
pub(crate) struct Client {
    stream: Stream,
    correlation_id: Cell<i32>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect() -> Self {
        Self::try_connect().await.expect("the server listens")
    }

    /// Connects to a server that may have gone.
    pub(crate) async fn try_connect() -> Option<Self> {
        Self::try_connect_to(addr().port()).await
    }

    /// Connects to a port that need not be the bootstrap port.
    pub(crate) async fn connect_to(port: u16) -> Self {
        let client = Self::try_connect_to(port).await;
        client.expect("the server listens there")
    }

    async fn try_connect_to(port: u16) -> Option<Self> {
        let to = SocketAddr::new(addr().ip(), port);
        let stream = Stream::connect(to).await.ok()?;
        Some(Self {
            stream,
            correlation_id: Cell::new(0),
        })
    }

    /// Sends a request and returns its correlation id.
    pub(crate) async fn send<R: Request>(&self, version: i16, request: &R) -> i32 {
        let id = self.correlation_id.get() + 1;
        self.correlation_id.set(id);
        self.send_raw(&encode(version, id, request)).await;
        id
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.stream
            .write_vectored_all(&[bytes])
            .await
            .expect("the server takes it");
    }

    /// Sends bytes to a server that may have closed the connection.
    pub(crate) async fn try_send_raw(&self, bytes: &[u8]) -> bool {
        self.stream
            .write_vectored_all(&[Bytes::copy_from_slice(bytes)])
            .await
            .is_ok()
    }

    /// Reads the next answer; it must be of request `id`.
    pub(crate) async fn receive<R: Request>(&self, version: i16, id: i32) -> R::Response {
        let mut frame = self.frame().await.expect("an answer, not the end");
        let header =
            ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        assert_eq!(
            header.correlation_id, id,
            "answers come in the order of requests"
        );
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(
            !frame.has_remaining(),
            "an answer ends where its frame does"
        );
        response
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call<R: Request>(&self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request).await;
        self.receive::<R>(version, id).await
    }

    /// The next frame, or `None` when the connection has ended.
    pub(crate) async fn frame(&self) -> Option<Bytes> {
        let length = self.exactly(4).await?.get_i32();
        self.exactly(usize::try_from(length).unwrap()).await
    }

    /// Ends both directions.
    pub(crate) fn close(&self) {
        self.stream.shutdown().unwrap();
    }

    async fn exactly(&self, count: usize) -> Option<Bytes> {
        let mut bytes = BytesMut::zeroed(count);
        let mut filled = 0;
        while filled < count {
            match self.stream.read(&mut bytes[filled..]).await {
                Ok(0) | Err(_) => return None,
                Ok(more) => filled += more,
            }
        }
        Some(bytes.freeze())
    }
}

/// A request as it goes to the socket.
pub(crate) fn encode<R: Request>(version: i16, id: i32, request: &R) -> Bytes {
    let mut body = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    header
        .encode(&mut body, R::header_version(version))
        .unwrap();
    request.encode(&mut body, version).unwrap();
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(body.len()).unwrap());
    frame.extend_from_slice(&body);
    frame.freeze()
}
