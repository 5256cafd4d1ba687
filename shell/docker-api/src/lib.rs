//! Docker Engine HTTP API.
