//! The core never panics, whatever it is told. Source: production runs it in one thread with everything else.

use std::any::Any;

use super::Violation;

/// What was thrown, as a broken law.
pub fn caught(payload: Box<dyn Any + Send>) -> Violation {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Violation::new("no_panic", text.unwrap_or_default())
}
