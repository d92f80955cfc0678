//! Links by which something came that was not taken. It leaves to [`crate::hub::Hub::feel`] when that may come again.

use super::{LinkId, Links};

impl Links {
    /// Something that a bridge brought is not taken.
    pub(in crate::hub) fn refuse(&mut self, link: LinkId) {
        if let Some(link) = self.all.get_mut(&link) {
            link.refused = true;
        }
    }

    pub(in crate::hub) fn has_refused(&self, link: LinkId) -> bool {
        self.all.get(&link).is_some_and(|link| link.refused)
    }

    /// What was not taken may come again: by new links.
    pub(in crate::hub) fn sicken_refused(&mut self) {
        for link in self.all.values_mut() {
            link.sick |= link.refused;
        }
    }
}
