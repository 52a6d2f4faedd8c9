//! Generated types and services of `relayer.v1`; the contract itself is `relayer/v1/*.proto`.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, missing_debug_implementations)]

pub mod v1 {
    tonic::include_proto!("relayer.v1");
}

/// The compiled descriptor, served by gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("relayer_descriptor");
