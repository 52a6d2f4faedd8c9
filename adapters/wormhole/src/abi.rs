//! What the adapter calls and reads of Wormhole's core, written by hand from its documentation.
#![allow(missing_debug_implementations)]

use alloy::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct CoreGuardianSet { address[] keys; uint32 expirationTime; }

    interface ICore {
        #[derive(Debug, PartialEq, Eq)]
        event LogMessagePublished(address indexed sender, uint64 sequence, uint32 nonce, bytes payload, uint8 consistencyLevel);

        error Error(string reason);

        function publishMessage(uint32 nonce, bytes payload, uint8 consistencyLevel) external payable returns (uint64 sequence);
        function messageFee() external view returns (uint256);
        function chainId() external view returns (uint16);
        function evmChainId() external view returns (uint256);
        function getCurrentGuardianSetIndex() external view returns (uint32);
        function getGuardianSet(uint32 index) external view returns (CoreGuardianSet set);
    }
}
