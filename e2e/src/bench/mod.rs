//! Measurements on a whole world.

pub mod throughput;
