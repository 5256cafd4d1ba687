//! Certificates as SwarmKit's interop table wants them.
