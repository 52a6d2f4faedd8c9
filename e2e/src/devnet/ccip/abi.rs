//! Hand-written ABI of what the devnet deploys, wires and plays of CCIP 1.6. Nothing of the protocol's source is needed.
#![allow(missing_debug_implementations, clippy::too_many_arguments)]

use alloy::sol;
use relayer_adapter_ccip::abi::v1_6::{ExecutionReport, MerkleRoot, PriceUpdates};

sol! {
    struct FeeQuoterStatic { uint96 maxFeeJuelsPerMsg; address linkToken; uint32 tokenPriceStalenessThreshold; }
    struct Premium { address token; uint64 premiumMultiplierWeiPerEth; }
    struct DestChainConfig {
        bool isEnabled;
        uint16 maxNumberOfTokensPerMsg;
        uint32 maxDataBytes;
        uint32 maxPerMsgGasLimit;
        uint32 destGasOverhead;
        uint8 destGasPerPayloadByteBase;
        uint8 destGasPerPayloadByteHigh;
        uint16 destGasPerPayloadByteThreshold;
        uint32 destDataAvailabilityOverheadGas;
        uint16 destGasPerDataAvailabilityByte;
        uint16 destDataAvailabilityMultiplierBps;
        bytes4 chainFamilySelector;
        bool enforceOutOfOrder;
        uint16 defaultTokenFeeUSDCents;
        uint32 defaultTokenDestGasOverhead;
        uint32 defaultTxGasLimit;
        uint64 gasMultiplierWeiPerEth;
        uint32 gasPriceStalenessThreshold;
        uint32 networkFeeUSDCents;
    }
    struct DestChainArgs { uint64 destChainSelector; DestChainConfig config; }
    struct OnRampStatic { uint64 chainSelector; address rmnRemote; address nonceManager; address tokenAdminRegistry; }
    struct OnRampDynamic { address feeQuoter; bool reentrancyGuardEntered; address messageInterceptor; address feeAggregator; address allowlistAdmin; }
    struct OnRampDest { uint64 destChainSelector; address router; bool allowlistEnabled; }
    struct OffRampStatic { uint64 chainSelector; uint16 gasForCallExactCheck; address rmnRemote; address tokenAdminRegistry; address nonceManager; }
    struct OffRampDynamic { address feeQuoter; uint32 permissionLessExecutionThresholdSeconds; address messageInterceptor; }
    struct OffRampSource { address router; uint64 sourceChainSelector; bool isEnabled; bool isRMNVerificationDisabled; bytes onRamp; }
    struct OcrConfig {
        bytes32 configDigest;
        uint8 ocrPluginType;
        uint8 F;
        bool isSignatureVerificationEnabled;
        address[] signers;
        address[] transmitters;
    }
    struct AuthorizedCallers { address[] addedCallers; address[] removedCallers; }
    struct Ramp { uint64 chainSelector; address ramp; }
    struct RateLimit { bool isEnabled; uint128 capacity; uint128 rate; }
    struct PoolChain { uint64 remoteChainSelector; bytes[] remotePoolAddresses; bytes remoteTokenAddress; RateLimit outbound; RateLimit inbound; }
    #[derive(Debug)]
    struct TokenPriceUpdate { address sourceToken; uint224 usdPerToken; }
    #[derive(Debug)]
    struct GasPriceUpdate { uint64 destChainSelector; uint224 usdPerUnitGas; }
    struct Prices { TokenPriceUpdate[] tokenPriceUpdates; GasPriceUpdate[] gasPriceUpdates; }

    interface INonceManager {
        function applyAuthorizedCallerUpdates(AuthorizedCallers callers) external;
    }

    interface IFeeQuoter {
        function applyAuthorizedCallerUpdates(AuthorizedCallers callers) external;
        function updatePrices(Prices prices) external;
    }

    interface IRouterAdmin {
        function applyRampUpdates(Ramp[] onRamps, Ramp[] offRampRemoves, Ramp[] offRampAdds) external;
    }

    interface ITokenAdminRegistry {
        function proposeAdministrator(address localToken, address administrator) external;
        function acceptAdminRole(address localToken) external;
        function setPool(address localToken, address pool) external;
    }

    interface ITokenPool {
        function applyChainUpdates(uint64[] removes, PoolChain[] adds) external;
        function setChainRateLimiterConfig(uint64 remoteChainSelector, RateLimit outbound, RateLimit inbound) external;
    }

    #[sol(rpc)]
    interface IRmnRemote {
        function curse(bytes16 subject) external;
        function uncurse(bytes16 subject) external;
        function isCursed(bytes16 subject) external view returns (bool);
    }

    interface IOffRampAdmin {
        function setOCR3Configs(OcrConfig[] configs) external;
    }
}

// What the committee signs and sends; structs of the adapter's ABI, encoded by hand because `sol!` cannot name a type of another crate.
sol! {
    interface IOffRampDon {
        function commit(bytes32[2] context, bytes report, bytes32[] rs, bytes32[] ss, bytes32 rawVs) external;
        function execute(bytes32[2] context, bytes report) external;
    }
}

/// `abi.encode(CommitReport)` with one root that needs no blessing and no prices.
pub fn commit_report(root: MerkleRoot) -> Vec<u8> {
    use alloy::sol_types::SolValue;
    let prices = PriceUpdates {
        tokenPriceUpdates: Vec::new(),
        gasPriceUpdates: Vec::new(),
    };
    let blessed: Vec<MerkleRoot> = Vec::new();
    let blessings: Vec<alloy::primitives::B256> = Vec::new();
    // A struct of dynamic members is encoded behind one offset, as is a tuple.
    (prices, blessed, vec![root], blessings).abi_encode()
}

/// `abi.encode(ExecutionReport[])`
pub fn execution_reports(reports: Vec<ExecutionReport>) -> Vec<u8> {
    use alloy::sol_types::SolValue;
    reports.abi_encode()
}

/// What differs in 2.0.
pub mod v2 {
    use alloy::sol;

    sol! {
        struct FeeQuoterStatic { uint96 maxFeeJuelsPerMsg; address linkToken; }
        struct DestChainConfig {
            bool isEnabled;
            uint32 maxDataBytes;
            uint32 maxPerMsgGasLimit;
            uint32 destGasOverhead;
            uint8 destGasPerPayloadByteBase;
            bytes4 chainFamilySelector;
            uint16 defaultTokenFeeUSDCents;
            uint32 defaultTokenDestGasOverhead;
            uint32 defaultTxGasLimit;
            uint16 networkFeeUSDCents;
            uint8 linkFeeMultiplierPercent;
        }
        struct DestChainArgs { uint64 destChainSelector; DestChainConfig config; }
        struct OnRampStatic { uint64 chainSelector; address rmnRemote; uint32 maxUSDCentsPerMessage; address tokenAdminRegistry; }
        struct OnRampDynamic { address feeQuoter; bool reentrancyGuardEntered; address feeAggregator; }
        struct OffRampStatic {
            uint64 localChainSelector;
            uint16 gasForCallExactCheck;
            address rmnRemote;
            address tokenAdminRegistry;
            uint32 maxGasBufferToUpdateState;
        }
        struct VerifierRemote {
            address router;
            uint64 remoteChainSelector;
            bool allowlistEnabled;
            uint16 feeUSDCents;
            uint32 gasForVerification;
            uint16 payloadSizeBytes;
        }
        struct SignatureConfig { uint64 sourceChainSelector; uint8 threshold; address[] signers; }
        struct Inbound { bytes4 version; address verifier; }
        struct Outbound { uint64 destChainSelector; address verifier; }
        struct ExecutorPrice { uint16 usdCentsFee; bool enabled; }
        struct ExecutorDest { uint64 destChainSelector; ExecutorPrice config; }
        struct OnRampDest {
            uint64 destChainSelector;
            address router;
            uint8 addressBytesLength;
            bool tokenReceiverAllowed;
            uint16 messageNetworkFeeUSDCents;
            uint16 tokenNetworkFeeUSDCents;
            uint32 baseExecutionGasCost;
            address[] defaultCCVs;
            address[] laneMandatedCCVs;
            address defaultExecutor;
            bytes offRamp;
        }
        struct OffRampSource {
            address router;
            uint64 sourceChainSelector;
            bool isEnabled;
            bytes[] onRamps;
            address[] defaultCCVs;
            address[] laneMandatedCCVs;
        }

        interface IVerifier {
            function applyRemoteChainConfigUpdates(VerifierRemote[] updates) external;
            function applySignatureConfigs(uint64[] removes, SignatureConfig[] updates) external;
        }

        interface IResolver {
            function applyInboundImplementationUpdates(Inbound[] updates) external;
            function applyOutboundImplementationUpdates(Outbound[] updates) external;
        }

        interface IExecutorAdmin {
            function applyDestChainUpdates(uint64[] removes, ExecutorDest[] adds) external;
        }

        interface IOnRampAdmin {
            function applyDestChainConfigUpdates(OnRampDest[] updates) external;
        }

        interface IOffRampAdmin {
            function applySourceChainConfigUpdates(OffRampSource[] updates) external;
        }
    }
}
