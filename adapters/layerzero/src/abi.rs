//! What the adapter calls and reads of LayerZero V2, written by hand from its documentation.
#![allow(missing_debug_implementations)]

use alloy::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct Origin { uint32 srcEid; bytes32 sender; uint64 nonce; }

    #[derive(Debug, PartialEq, Eq)]
    struct UlnConfig {
        uint64 confirmations;
        uint8 requiredDVNCount;
        uint8 optionalDVNCount;
        uint8 optionalDVNThreshold;
        address[] requiredDVNs;
        address[] optionalDVNs;
    }

    interface IEndpoint {
        event PacketSent(bytes encodedPayload, bytes options, address sendLibrary);

        function lzReceive(Origin origin, address receiver, bytes32 guid, bytes message, bytes extraData) external payable;
        function inboundNonce(address receiver, uint32 srcEid, bytes32 sender) external view returns (uint64);
        function lazyInboundNonce(address receiver, uint32 srcEid, bytes32 sender) external view returns (uint64);
        function inboundPayloadHash(address receiver, uint32 srcEid, bytes32 sender, uint64 nonce) external view returns (bytes32);
        function blockedLibrary() external view returns (address);
        function getSendLibrary(address sender, uint32 dstEid) external view returns (address lib);
        function getReceiveLibrary(address receiver, uint32 srcEid) external view returns (address lib, bool isDefault);
    }

    interface IReceiveUln {
        function commitVerification(bytes packetHeader, bytes32 payloadHash) external;
        function verifiable(UlnConfig config, bytes32 headerHash, bytes32 payloadHash) external view returns (bool);
        function getUlnConfig(address oapp, uint32 remoteEid) external view returns (UlnConfig);
        function hashLookup(bytes32 headerHash, bytes32 payloadHash, address dvn) external view returns (bool submitted, uint64 confirmations);
    }
}
