//! Subnets, addresses, ports.
