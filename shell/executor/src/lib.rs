//! Embedded runtime.
