//! Both halves of manager and worker.
