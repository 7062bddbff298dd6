//! The listener: which paths there are, and the bounds of every connection.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;

use std::time::Instant;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::connections::{Connection, Connections};
use crate::latency;
use crate::limits::{
    ACCEPT_BACKOFF, CONNECTION_MAX, HEAD_MAX, HEADERS_MAX, REQUEST_BYTES_MAX, WORK_INTERVAL,
};
use crate::watched::{Readiness, Watched, WorkSampler};

/// What Prometheus takes.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const JSON_TYPE: &str = "application/json";

/// Serves until it is told to stop.
pub(crate) async fn serve(
    listener: StdListener,
    watched: Arc<Watched>,
    stop: Arc<Notify>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let router = router(Arc::clone(&watched));
    tokio::select! {
        () = accept(&listener, router) => {}
        () = sample(&watched) => {}
        () = stop.notified() => {}
    }
    Ok(())
}

async fn sample(watched: &Watched) {
    let mut sampler = WorkSampler::default();
    let mut ticks = interval(WORK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sampler.look(watched);
    }
}

async fn accept(listener: &TcpListener, router: Router) {
    let connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = Arc::new(connections.one_more(Instant::now()));
                tokio::spawn(converse(stream, router.clone(), connection));
                // Whoever had to go for it does so before the next one comes.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::debug!("the admin listener cannot accept: {error}");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router, connection: Arc<Connection>) {
    let service = TowerToHyperService::new(router);
    let asks = Arc::clone(&connection);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        asks.moved(Instant::now());
        let (answered, asks) = (service.call(request), Arc::clone(&asks));
        async move {
            let answer = answered.await;
            asks.moved(Instant::now());
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(REQUEST_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = timeout(CONNECTION_MAX, served) => ended,
        () = connection.closed() => {
            return tracing::debug!("an admin connection was closed for another one");
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("an admin connection ended: {error}"),
        Err(_) => tracing::debug!("an admin connection had its time"),
    }
}

fn router(watched: Arc<Watched>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/latency", get(latency_json))
        .with_state(watched)
}

async fn metrics_text(State(watched): State<Arc<Watched>>) -> Response {
    let text = watched.metrics(Instant::now());
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn healthz(State(watched): State<Arc<Watched>>) -> Response {
    match watched.still() {
        None => "ok\n".into_response(),
        Some(shard) => {
            let sentence = format!("shard {} stands still\n", shard.0);
            (StatusCode::SERVICE_UNAVAILABLE, sentence).into_response()
        }
    }
}

async fn readyz(State(watched): State<Arc<Watched>>) -> Response {
    match watched.readiness() {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Readiness::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}

async fn latency_json(State(watched): State<Arc<Watched>>, RawQuery(query): RawQuery) -> Response {
    let Some(serving) = watched.serving() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    };
    let asked = latency::Asked::parse(query.as_deref().unwrap_or_default());
    match asked.and_then(|asked| latency::answer(serving, &asked)) {
        Ok(json) => ([(header::CONTENT_TYPE, JSON_TYPE)], format!("{json:#}\n")).into_response(),
        Err(sentence) => (StatusCode::BAD_REQUEST, format!("{sentence}\n")).into_response(),
    }
}
