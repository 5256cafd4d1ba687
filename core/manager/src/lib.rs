//! One manager, composed.
