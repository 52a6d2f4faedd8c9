//! Compiles `relayer/v1/*.proto` with protox, so that no system `protoc` is needed.
use prost::Message as _;
use std::path::PathBuf;

const ANSWERS: &[&str] = &[
    "Terms",
    "SubmitResponse",
    "GetResponse",
    "HubReliance",
    "Settlement",
    "Receipt",
    "Evidence",
    "Event",
    "Message",
    "Dispatch",
    "Execution",
    "ExecutionBundle",
    "BundleGroup",
    "ListResponse",
    "QuoteResponse",
    "LaneQuote",
    "CancelResponse",
    "SubmitCheckpointResponse",
    "ListHubsResponse",
    "Hub",
    "GetCheckpointResponse",
    "HubCheckpoint",
    "CheckpointContents",
    "TokenCommitment",
    "ListTokensResponse",
    "HubToken",
    "WhoisResponse",
    "Registration",
    "GetAllotmentResponse",
    "MerkleProof",
    "ListTransactionsResponse",
    "WalletRef",
    "HubTransaction",
    "GetTransactionResponse",
    "DeliveryProof",
    "BuildCheckpointResponse",
    "BuiltCheckpoint",
    "HubEvent",
    "Drift",
    "DriftChange",
    "ListDriftResponse",
    "ResolveDisputeResponse",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rerun-if-changed=relayer");
    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(["settlement", "hub", "operator"].map(|name| root.join(format!("relayer/v1/{name}.proto"))))?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("relayer_descriptor.bin"),
        compiler.file_descriptor_set().encode_to_vec(),
    )?;
    // Answers are also served as JSON (REST, `--json`), and bundles are files.
    let mut config = tonic_prost_build::configure();
    for message in ANSWERS {
        let path = format!("relayer.v1.{message}");
        config = config.type_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]");
        config = config.type_attribute(&path, "#[serde(default)]");
    }
    config.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
