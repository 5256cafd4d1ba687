//! Which tasks should exist.
