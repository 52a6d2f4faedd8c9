//! Settlement relayer.
