//! Hand-written ABI of what the devnet deploys, wires and plays of LayerZero V2. Nothing of the protocol's source is needed.
#![allow(missing_debug_implementations, clippy::too_many_arguments)]

use alloy::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct Origin { uint32 srcEid; bytes32 sender; uint64 nonce; }
    #[derive(Debug)]
    struct UlnConfig { uint64 confirmations; uint8 requiredDVNCount; uint8 optionalDVNCount; uint8 optionalDVNThreshold; address[] requiredDVNs; address[] optionalDVNs; }
    struct SetDefaultUlnConfigParam { uint32 eid; UlnConfig config; }
    struct ExecutorConfig { uint32 maxMessageSize; address executor; }
    struct SetDefaultExecutorConfigParam { uint32 eid; ExecutorConfig config; }
    struct DvnDstConfigParam { uint32 dstEid; uint64 gas; uint16 multiplierBps; uint128 floorMarginUSD; }
    struct ExecuteParam { uint32 vid; address target; bytes callData; uint256 expiration; bytes signatures; }
    struct ExecDstConfigParam { uint32 dstEid; uint64 lzReceiveBaseGas; uint64 lzComposeBaseGas; uint16 multiplierBps; uint128 floorMarginUSD; uint128 nativeCap; }
    struct ExecutionParams { address receiver; Origin origin; bytes32 guid; bytes message; bytes extraData; uint256 gasLimit; }
    struct Price { uint128 priceRatio; uint64 gasPriceInUnit; uint32 gasPerByte; }
    struct UpdatePrice { uint32 eid; Price price; }

    #[sol(rpc)]
    interface IEndpointV2 {
        event PacketSent(bytes encodedPayload, bytes options, address sendLibrary);
        function lzReceive(Origin origin, address receiver, bytes32 guid, bytes message, bytes extraData) external payable;
        function inboundNonce(address receiver, uint32 srcEid, bytes32 sender) external view returns (uint64);
        function outboundNonce(address sender, uint32 dstEid, bytes32 receiver) external view returns (uint64);
        function inboundPayloadHash(address receiver, uint32 srcEid, bytes32 sender, uint64 nonce) external view returns (bytes32);
        function registerLibrary(address lib) external;
        function setDefaultSendLibrary(uint32 eid, address lib) external;
        function setDefaultReceiveLibrary(uint32 eid, address lib, uint256 gracePeriod) external;
    }

    #[sol(rpc)]
    interface IUln302 {
        event PayloadVerified(address dvn, bytes header, uint256 confirmations, bytes32 proofHash);
        function verify(bytes packetHeader, bytes32 payloadHash, uint64 confirmations) external;
        function commitVerification(bytes packetHeader, bytes32 payloadHash) external;
        function setDefaultUlnConfigs(SetDefaultUlnConfigParam[] params) external;
        function setDefaultExecutorConfigs(SetDefaultExecutorConfigParam[] params) external;
        function setTreasury(address treasury) external;
    }

    #[sol(rpc)]
    interface IReceiveUln302View {
        function initialize(address endpoint, address receiveUln302) external;
        /// 0 verifying, 1 verifiable, 2 verified, 3 not initializable
        function verifiable(bytes packetHeader, bytes32 payloadHash) external view returns (uint8);
    }

    #[sol(rpc)]
    interface IEndpointV2View {
        function initialize(address endpoint) external;
        /// 0 not executable, 1 verified but not executable, 2 executable, 3 executed
        function executable(Origin origin, address receiver) external view returns (uint8);
    }

    #[sol(rpc)]
    interface IDVN {
        function vid() external view returns (uint32);
        function setDstConfig(DvnDstConfigParam[] params) external;
        function setWorkerFeeLib(address lib) external;
        function execute(ExecuteParam[] params) external;
    }

    #[sol(rpc)]
    interface IExecutor {
        function initialize(address endpoint, address receiveUln301, address[] messageLibs, address priceFeed, address roleAdmin, address[] admins) external;
        function setDstConfig(ExecDstConfigParam[] params) external;
        function setWorkerFeeLib(address lib) external;
        function execute302(ExecutionParams params) external payable;
    }

    #[sol(rpc)]
    interface IPriceFeed {
        function initialize(address updater) external;
        function setPrice(UpdatePrice[] prices) external;
    }

    /// The test tokens of contracts/test.
    #[sol(rpc)]
    interface ITestToken {
        function mint(address to, uint256 amount) external;
        function approve(address spender, uint256 amount) external returns (bool);
        function balanceOf(address account) external view returns (uint256);
        function transfer(address to, uint256 amount) external returns (bool);
    }
}
