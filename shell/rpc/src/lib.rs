//! gRPC over mTLS.
