//! Wormhole's real core contracts, deployed from the code `contracts/bin/wormhole.js` fetched, and governed as Wormhole governs them.

use super::layerzero::create;
use crate::deploy::artifacts::{contracts_folder, with_args};
use alloy::primitives::{Address, B256, Bytes, U256, b256, keccak256};
use alloy::providers::DynProvider;
use alloy::sol;
use alloy::sol_types::{SolCall, SolValue};
use anyhow::{Context, Result, ensure};
use relayer_adapter_wormhole::Body;
use serde::{Deserialize, Serialize};

sol! {
    function setup(address implementation, address[] initialGuardians, uint16 chainId, uint16 governanceChainId, bytes32 governanceContract, uint256 evmChainId);

    #[sol(rpc)]
    interface ICoreBridge {
        #[derive(Debug)]
        event LogMessagePublished(address indexed sender, uint64 sequence, uint32 nonce, bytes payload, uint8 consistencyLevel);
        function messageFee() external view returns (uint256);
        function nextSequence(address emitter) external view returns (uint64);
        function getCurrentGuardianSetIndex() external view returns (uint32);
        function submitNewGuardianSet(bytes vaa) external;
        function submitSetMessageFee(bytes vaa) external;
    }
}

/// Creation code of the contracts, as facts: the core has not changed since 2022.
const CODE: [(&str, B256); 3] = [
    (
        "Implementation",
        b256!("344ec4faa9a0b44948fe619a3d63fa1ad708af0c3dac6404b767140800f8d12f"),
    ),
    (
        "Setup",
        b256!("d68eb7f945183e22a3ac38554bfcb5feef6bdfe17d5d2e94aa8596da1462df0a"),
    ),
    (
        "Wormhole",
        b256!("2e7d17dc0a5abf3e69ce28e8736b9b66a813a7522d740a17865cde7f57ab7409"),
    ),
];
const GOVERNANCE_CHAIN: u16 = 1;
const GOVERNANCE: B256 = b256!("0000000000000000000000000000000000000000000000000000000000000004");
/// "Core", left-padded.
const CORE_MODULE: B256 = b256!("00000000000000000000000000000000000000000000000000000000436f7265");

/// Wormhole on one chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wormhole {
    pub wormhole_chain: u16,
    pub core: Address,
}

fn code(index: usize) -> Result<Bytes> {
    let (name, pinned) = CODE[index];
    let file = contracts_folder().join(format!("node_modules/.wormhole-core/{name}.json"));
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{} is missing: run `npm run build` in contracts/", file.display()))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let code: Bytes = json["bytecode"].as_str().context("no bytecode")?.parse()?;
    ensure!(keccak256(&code) == pinned, "{name} of Wormhole is not the pinned code");
    Ok(code)
}

/// Deploys the core with guardian set 0.
pub async fn deploy(
    provider: &DynProvider,
    wormhole_chain: u16,
    chain: u64,
    guardians: &[Address],
) -> Result<Wormhole> {
    let implementation = create(provider, code(0)?, "Wormhole implementation").await?;
    let setup = create(provider, code(1)?, "Wormhole setup").await?;
    let init = setupCall {
        implementation,
        initialGuardians: guardians.to_vec(),
        chainId: wormhole_chain,
        governanceChainId: GOVERNANCE_CHAIN,
        governanceContract: GOVERNANCE,
        evmChainId: U256::from(chain),
    };
    let args = (setup, Bytes::from(init.abi_encode()));
    let core = create(provider, with_args(&code(2)?, &args), "Wormhole core").await?;
    Ok(Wormhole { wormhole_chain, core })
}

/// What governance says in its `sequence`-th message.
pub fn governance(sequence: u64, payload: Vec<u8>) -> Body {
    Body {
        timestamp: 1,
        nonce: 0,
        emitter_chain: GOVERNANCE_CHAIN,
        emitter: GOVERNANCE,
        sequence,
        consistency: 0,
        payload,
    }
}

/// Action 2, for every chain: these guardians from now on.
pub fn new_set(index: u32, guardians: &[Address]) -> Vec<u8> {
    let count = u8::try_from(guardians.len()).unwrap_or(u8::MAX);
    let mut payload = (CORE_MODULE, [2u8], 0u16, index, [count]).abi_encode_packed();
    for guardian in guardians {
        payload.extend_from_slice(guardian.as_slice());
    }
    payload
}

/// Action 3, for one chain: this fee from now on.
pub fn new_fee(wormhole_chain: u16, fee: U256) -> Vec<u8> {
    (CORE_MODULE, [3u8], wormhole_chain, fee).abi_encode_packed()
}
