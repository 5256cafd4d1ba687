//! Facts and their integrity.
