//! What must hold at the end of a run, when all is healed and quiet.

use std::collections::BTreeMap;

use super::World;

type Judged = Result<(), (Option<usize>, String)>;

impl World {
    /// All is healed and quiet: nothing waits, and everybody knows the same.
    pub(super) fn judge(&self, healed_from: usize) -> Judged {
        self.s.ledger.settled(healed_from)?;
        let unlike = |text: String| Err((None, text));
        if let Some(client) = self.clients.iter().find(|client| !client.is_settled()) {
            return unlike(format!("client-{} waits for something", client.index));
        }
        for (index, slot) in self.nodes.iter().enumerate() {
            let m = &slot.metrics;
            let waiting = (m.forwards_waiting.get(), m.forward_backlog_bytes.get());
            let ready = m.links_ready.get();
            if waiting != (0, 0) || ready != 2 {
                return unlike(format!("node-{index}: {waiting:?} waits, {ready} ready"));
            }
        }
        let routes: i64 = self.nodes.iter().map(|slot| slot.metrics.routes.get()).sum();
        for (index, slot) in self.bridges.iter().enumerate() {
            let m = &slot.metrics;
            let kept = (m.transits.get(), m.held_messages.get(), m.held_bytes.get());
            let known = m.routes.get();
            if kept != (0, 0, 0) || known != routes {
                return unlike(format!(
                    "bridge-{index}: {kept:?} kept, {known} of {routes} routes"
                ));
            }
        }
        Ok(())
    }

    /// Every node has the same under each topic: the last word, or one that may be.
    pub(super) fn judge_retained(&self) -> Judged {
        let nodes = self.nodes.iter().filter_map(|slot| slot.process.as_ref());
        let found: Vec<BTreeMap<String, usize>> =
            nodes.map(|node| node.find_retained(&self.s)).collect();
        for topic in self.s.ledger.retaining.topics() {
            let words: Vec<Option<usize>> =
                found.iter().map(|found| found.get(topic).copied()).collect();
            let Some(word) = words.first().copied() else { continue };
            if words.iter().any(|other| *other != word) {
                let text = format!("retained under {topic}: {words:?}, by node");
                return Err((None, text));
            }
            let allowed = self.s.ledger.retaining.allows(topic, word, u64::MAX);
            allowed.map_err(|text| (word, format!("in the end {text}")))?;
        }
        Ok(())
    }
}
