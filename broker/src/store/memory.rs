//! The store that keeps nothing: for nodes whose sessions may end with the process, and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::{Batch, Position, Store};

/// Everything written is durable at once, and gone with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    written: AtomicU64,
}

#[async_trait]
impl Store for MemoryStore {
    fn write(&self, batch: Batch) -> Position {
        let news = u64::from(!batch.is_empty());
        Position(self.written.fetch_add(news, Ordering::Relaxed) + news)
    }

    fn durable(&self) -> Position {
        Position(u64::MAX)
    }

    async fn wait(&self, known: Position) -> Position {
        if known == self.durable() {
            std::future::pending::<()>().await;
        }
        self.durable()
    }

    fn backlog_bytes(&self) -> usize {
        0
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}
