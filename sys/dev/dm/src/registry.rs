//! What targets share that lie on the same device, in whatever tables.

use crate::kern::sync::Mutex;
use crate::lower::{Identity, Lower};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::any::{Any, TypeId};

/// One thing of each type for each device below, for as long as somebody uses it.
pub(crate) struct Registry {
    shared: Mutex<BTreeMap<(TypeId, Identity), Weak<dyn Any + Send + Sync>>>,
}

impl Registry {
    /// Thread context. An empty one.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { shared: Mutex::new(BTreeMap::new()) }
    }

    /// Thread context. The thing of type `T` that belongs to `lower`; made if there is none.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn of<T: Any + Send + Sync, E>(
        &self,
        lower: &Lower,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let key = (TypeId::of::<T>(), lower.identity());
        let mut shared = self.shared.lock();
        let known = shared.get(&key).and_then(Weak::upgrade);
        if let Some(Ok(known)) = known.map(Arc::downcast) {
            return Ok(known);
        }
        shared.retain(|_, known| known.strong_count() != 0);
        let made = Arc::new(make()?);
        let weak: Weak<dyn Any + Send + Sync> = Arc::downgrade(&made) as _;
        shared.insert(key, weak);
        Ok(made)
    }
}
