//! ABI of our own contracts, read from the very interface files the contracts implement.
#![allow(missing_debug_implementations, clippy::too_many_arguments)]

use alloy::sol;

sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/ISettlementOutbox.sol"
);
sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/ISettlementInbox.sol"
);
sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/ISettlementVault.sol"
);
sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/ISettlementPort.sol"
);
sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/ILayerZeroPort.sol"
);
sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/IWormholePort.sol"
);
sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/ICcipPort.sol"
);
sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/ICheckpointRegistry.sol"
);
sol!(
    #![sol(all_derives = true)]
    #[sol(rpc)]
    "../../contracts/src/interfaces/ICommitChain.sol"
);
