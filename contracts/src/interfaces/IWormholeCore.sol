// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title What the port needs of Wormhole's core contract, written from its ABI.
interface IWormholeCore {
    struct Signature {
        bytes32 r;
        bytes32 s;
        uint8 v;
        uint8 guardianIndex;
    }

    /// @dev `hash` is the double keccak256 of the body: what guardians sign.
    struct VM {
        uint8 version;
        uint32 timestamp;
        uint32 nonce;
        uint16 emitterChainId;
        bytes32 emitterAddress;
        uint64 sequence;
        uint8 consistencyLevel;
        bytes payload;
        uint32 guardianSetIndex;
        Signature[] signatures;
        bytes32 hash;
    }

    struct GuardianSet {
        address[] keys;
        uint32 expirationTime;
    }

    event LogMessagePublished(address indexed sender, uint64 sequence, uint32 nonce, bytes payload, uint8 consistencyLevel);

    /// @notice `msg.value` must be exactly `messageFee()`.
    function publishMessage(uint32 nonce, bytes calldata payload, uint8 consistencyLevel) external payable returns (uint64 sequence);
    function messageFee() external view returns (uint256);
    /// @notice Wormhole's id of this chain; never the chain id.
    function chainId() external view returns (uint16);
    function evmChainId() external view returns (uint256);
    function nextSequence(address emitter) external view returns (uint64);
    function getCurrentGuardianSetIndex() external view returns (uint32);
    function getGuardianSet(uint32 index) external view returns (GuardianSet memory);
    /// @notice Some faults make `valid` false with a reason, others revert. `vm` is filled in either way.
    function parseAndVerifyVM(bytes calldata encoded) external view returns (VM memory vm, bool valid, string memory reason);
    function submitNewGuardianSet(bytes calldata vaa) external;
    function submitSetMessageFee(bytes calldata vaa) external;
}
