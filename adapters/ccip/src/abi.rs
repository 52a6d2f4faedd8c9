//! What the adapter calls and reads of CCIP, written by hand from its public ABI. Names repeat between versions with other types behind
//! them, so each version has a module of its own: decode by version, never by success.
#![allow(missing_debug_implementations, clippy::too_many_arguments)]

use alloy::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct OffRampEntry { uint64 sourceChainSelector; address offRamp; }

    /// Router 1.2.0, the one contract that outlives upgrades.
    interface IRouter {
        function getOnRamp(uint64 destChainSelector) external view returns (address);
        function getOffRamps() external view returns (OffRampEntry[] memory);
        function getArmProxy() external view returns (address);
    }

    interface ITypeAndVersion {
        function typeAndVersion() external view returns (string memory);
    }

    interface IRmn {
        function isCursed(bytes16 subject) external view returns (bool);
    }
}

/// Sending tokens; the same in every version behind the Router.
pub mod tokens {
    use alloy::sol;

    sol! {
        #[derive(Debug, PartialEq, Eq)]
        struct TokenAmount { address token; uint256 amount; }
        #[derive(Debug, PartialEq, Eq)]
        struct Outgoing { bytes receiver; bytes data; TokenAmount[] tokenAmounts; address feeToken; bytes extraArgs; }

        interface IRouter {
            function getFee(uint64 destChainSelector, Outgoing message) external view returns (uint256 fee);
            function ccipSend(uint64 destChainSelector, Outgoing message) external payable returns (bytes32 messageId);
        }

        interface IOnRamp {
            function getPoolBySourceToken(uint64 destChainSelector, address sourceToken) external view returns (address pool);
        }

        interface ITokenPool {
            function getRemoteToken(uint64 remoteChainSelector) external view returns (bytes memory token);
        }
    }
}

/// Only recognised.
pub mod v1_5 {
    use alloy::primitives::{B256, b256};
    /// topic0 of `CCIPSendRequested`.
    pub const SEND_REQUESTED: B256 = b256!("d0c3c799bf9e2639de44391e7f524d229b2b55f5b1ea94b2bf7da42f7243dddd");
}

pub mod v1_6 {
    use alloy::sol;

    sol! {
        #[derive(Debug, Default, PartialEq, Eq)]
        struct Header { bytes32 messageId; uint64 sourceChainSelector; uint64 destChainSelector; uint64 sequenceNumber; uint64 nonce; }

        #[derive(Debug, Default, PartialEq, Eq)]
        struct SentToken { address sourcePoolAddress; bytes destTokenAddress; bytes extraData; uint256 amount; bytes destExecData; }

        /// A message as the on-ramp emits it.
        #[derive(Debug, Default, PartialEq, Eq)]
        struct SentMessage {
            Header header;
            address sender;
            bytes data;
            bytes receiver;
            bytes extraArgs;
            address feeToken;
            uint256 feeTokenAmount;
            uint256 feeValueJuels;
            SentToken[] tokenAmounts;
        }

        #[derive(Debug, Default, PartialEq, Eq)]
        struct ArrivingToken { bytes sourcePoolAddress; address destTokenAddress; uint32 destGasAmount; bytes extraData; uint256 amount; }

        /// The same message as the off-ramp takes it.
        #[derive(Debug, Default, PartialEq, Eq)]
        struct ArrivingMessage { Header header; bytes sender; bytes data; address receiver; uint256 gasLimit; ArrivingToken[] tokenAmounts; }

        #[derive(Debug, PartialEq, Eq)]
        struct ExecutionReport {
            uint64 sourceChainSelector;
            ArrivingMessage[] messages;
            bytes[][] offchainTokenData;
            bytes32[] proofs;
            uint256 proofFlagBits;
        }

        #[derive(Debug, PartialEq, Eq)]
        struct GasLimitOverride { uint256 receiverExecutionGasLimit; uint32[] tokenGasOverrides; }

        #[derive(Debug, PartialEq, Eq)]
        struct MerkleRoot { uint64 sourceChainSelector; bytes onRampAddress; uint64 minSeqNr; uint64 maxSeqNr; bytes32 merkleRoot; }
        struct TokenPrice { address sourceToken; uint224 usdPerToken; }
        struct GasPrice { uint64 destChainSelector; uint224 usdPerUnitGas; }
        struct PriceUpdates { TokenPrice[] tokenPriceUpdates; GasPrice[] gasPriceUpdates; }

        #[derive(Debug, PartialEq, Eq)]
        struct SourceChainConfig { address router; bool isEnabled; uint64 minSeqNr; bool isRMNVerificationDisabled; bytes onRamp; }

        interface IOnRamp {
            event CCIPMessageSent(uint64 indexed destChainSelector, uint64 indexed sequenceNumber, SentMessage message);
        }

        interface IOffRamp {
            event CommitReportAccepted(MerkleRoot[] blessedMerkleRoots, MerkleRoot[] unblessedMerkleRoots, PriceUpdates priceUpdates);
            event ExecutionStateChanged(
                uint64 indexed sourceChainSelector,
                uint64 indexed sequenceNumber,
                bytes32 indexed messageId,
                bytes32 messageHash,
                uint8 state,
                bytes returnData,
                uint256 gasUsed
            );

            function getSourceChainConfig(uint64 sourceChainSelector) external view returns (SourceChainConfig memory);
            /// Also on 1.5 and 2.0, with another struct behind it.
            function getDynamicConfig() external view returns (address feeQuoter, uint32 permissionLessExecutionThresholdSeconds, address messageInterceptor);
            function getExecutionState(uint64 sourceChainSelector, uint64 sequenceNumber) external view returns (uint8);
            function getMerkleRoot(uint64 sourceChainSelector, bytes32 root) external view returns (uint256 committedAt);
            function manuallyExecute(ExecutionReport[] memory reports, GasLimitOverride[][] memory gasLimitOverrides) external;
            /// Callable by the off-ramp itself only; simulated to learn whether and with how much gas a message executes.
            function executeSingleMessage(ArrivingMessage memory message, bytes[] calldata offchainTokenData, uint32[] calldata tokenGasOverrides) external;
        }
    }
}

pub mod v2_0 {
    use alloy::sol;

    sol! {
        #[derive(Debug, PartialEq, Eq)]
        struct TokenTransfer {
            uint256 amount;
            bytes sourcePoolAddress;
            bytes sourceTokenAddress;
            bytes destTokenAddress;
            bytes tokenReceiver;
            bytes extraData;
        }

        /// The packed message, unpacked.
        #[derive(Debug, PartialEq, Eq)]
        struct MessageV1 {
            uint64 sourceChainSelector;
            uint64 destChainSelector;
            uint64 messageNumber;
            uint32 executionGasLimit;
            uint32 ccipReceiveGasLimit;
            bytes4 finality;
            bytes32 ccvAndExecutorHash;
            bytes onRampAddress;
            bytes offRampAddress;
            bytes sender;
            bytes receiver;
            bytes destBlob;
            TokenTransfer[] tokenTransfer;
            bytes data;
        }

        #[derive(Debug, PartialEq, Eq)]
        struct SourceChainConfig { address router; bool isEnabled; bytes[] onRamps; address[] defaultCCVs; address[] laneMandatedCCVs; }

        #[derive(Debug, PartialEq, Eq)]
        struct Receipt { address issuer; uint32 destGasLimit; uint32 destBytesOverhead; uint256 feeTokenAmount; bytes extraArgs; }

        interface IOnRamp {
            event CCIPMessageSent(
                uint64 indexed destChainSelector,
                address indexed sender,
                bytes32 indexed messageId,
                address feeToken,
                uint256 tokenAmountBeforeTokenPoolFees,
                bytes encodedMessage,
                Receipt[] receipts,
                bytes[] verifierBlobs
            );
        }

        interface IOffRamp {
            event ExecutionStateChanged(
                uint64 indexed sourceChainSelector, uint64 indexed messageNumber, bytes32 indexed messageId, uint8 state, bytes returnData
            );

            function getSourceChainConfig(uint64 sourceChainSelector) external view returns (SourceChainConfig memory);
            function getExecutionState(bytes32 messageId) external view returns (uint8);
            function execute(bytes calldata encodedMessage, address[] calldata ccvs, bytes[] calldata verifierResults, uint32 gasLimitOverride) external;
            /// Callable by the off-ramp itself only.
            function executeSingleMessage(
                MessageV1 memory message, bytes32 messageId, address[] calldata ccvs, bytes[] calldata verifierResults, uint32 gasLimitOverride
            ) external;
        }
    }
}
