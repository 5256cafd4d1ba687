//! Raft as step in, effects out.
