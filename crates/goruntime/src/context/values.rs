//! The values of a context: a list that shares its tail, looked through from the front.
//!
//! Contexts carry few values, so a list is right, as in Go. It is dropped without recursion, however long it has become.

use std::any::{Any, TypeId};
use std::sync::Arc;

/// What a value is found by. Usually an empty type of the module whose value it is, so that nobody else's is the same.
pub trait Key: 'static {
    /// What is kept under it.
    type Value: Send + Sync + 'static;
}

#[derive(Clone, Default)]
pub(super) struct Values(Option<Arc<Link>>);

struct Link {
    key: TypeId,
    value: Box<dyn Any + Send + Sync>,
    rest: Values,
}

impl Values {
    /// The list with one more in front.
    pub(super) fn with<K: Key>(&self, value: K::Value) -> Values {
        Values(Some(Arc::new(Link {
            key: TypeId::of::<K>(),
            value: Box::new(value),
            rest: self.clone(),
        })))
    }

    /// The first under this key.
    pub(super) fn get<K: Key>(&self) -> Option<&K::Value> {
        let key = TypeId::of::<K>();
        let mut links = std::iter::successors(self.0.as_deref(), |link| link.rest.0.as_deref());
        links.find(|link| link.key == key)?.value.downcast_ref()
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.rest.0.take();
        }
    }
}
