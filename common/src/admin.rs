//! What operators and their tools see over HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! It leaves to others: what is counted ([`mod@crate::metrics`]) and what readiness means.

pub mod health;

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;

/// Why a service should be given no new work, one reason an entry; empty when it is ready.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Serves until the task is aborted.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    readiness: Readiness,
) -> io::Result<()> {
    let router = Router::new()
        .route("/", get("/metrics\n/healthz\n/readyz\n"))
        .route("/healthz", get("healthy\n"))
        .route("/metrics", get(metrics).with_state(registry))
        .route("/readyz", get(ready).with_state(readiness));
    axum::serve(listener, router).await
}

async fn metrics(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let reasons = readiness();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let text = reasons.join("\n") + "\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use prometheus::IntGauge;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn answer(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_page_says_how_the_service_is() {
        let registry = Registry::new();
        let gauge = IntGauge::new("sheep", "Sheep.").unwrap();
        registry.register(Box::new(gauge.clone())).unwrap();
        gauge.set(7);
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&reasons);
        let readiness: Readiness = Arc::new(move || shared.lock().clone());
        let served = tokio::spawn(serve(listener, registry, readiness));

        let metrics = answer(address, "/metrics").await;
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.ends_with("# TYPE sheep gauge\nsheep 7\n"), "{metrics}");
        assert!(answer(address, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
        assert!(answer(address, "/").await.ends_with("/metrics\n/healthz\n/readyz\n"));
        assert!(answer(address, "/else").await.starts_with("HTTP/1.1 404"));

        let ready = answer(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200 OK") && ready.ends_with("\r\n\r\nready\n"));
        *reasons.lock() = vec!["full".to_owned(), "fenced".to_owned()];
        let unready = answer(address, "/readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503") && unready.ends_with("\r\n\r\nfull\nfenced\n"));
        served.abort();
    }
}
