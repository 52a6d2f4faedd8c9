//! The compiled contracts, as `npm run build` in `contracts/` leaves them.

use alloy::primitives::Bytes;
use alloy::sol_types::SolValue;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Folder `contracts/` of this workspace.
pub fn contracts_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts")
}

/// Creation code of one of our contracts.
pub fn ours(contract: &str) -> Result<Bytes> {
    let path = contracts_folder().join(format!("out/{contract}.sol/{contract}.json"));
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{contract} is not compiled ({}): run `cargo xtask contracts build`",
            path.display()
        )
    })?;
    let artifact: serde_json::Value = serde_json::from_str(&text)?;
    let code = artifact["bytecode"]["object"]
        .as_str()
        .with_context(|| format!("{} has no bytecode", path.display()))?;
    code.parse()
        .with_context(|| format!("{}: the bytecode is not linked", path.display()))
}

/// Creation code followed by ABI-encoded constructor arguments.
pub fn with_args<A: SolValue>(code: &Bytes, args: &A) -> Bytes
where
    for<'a> <A::SolType as alloy::sol_types::SolType>::Token<'a>: alloy::sol_types::abi::TokenSeq<'a>,
{
    let mut all = code.to_vec();
    all.extend(args.abi_encode_params());
    all.into()
}
