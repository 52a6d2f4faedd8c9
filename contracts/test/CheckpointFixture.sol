// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {CheckpointRegistry} from "../src/CheckpointRegistry.sol";
import {ICheckpointRegistry} from "../src/interfaces/ICheckpointRegistry.sol";
import {FakePort} from "./mocks/FakePort.sol";
import {Fixture} from "./Fixture.sol";

/// @dev A registry beside the inbox, and one hub whose roots need two families.
abstract contract CheckpointFixture is Fixture {
    address internal constant HUB = address(0x4B);
    uint256 internal constant OPERATOR_KEY = 0x0BE2A702;
    uint256 internal constant RESOLVE_DELAY = 2 days;
    uint32 internal constant EON_SECONDS = 1 hours;
    /// @dev secp256k1 n.
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    CheckpointRegistry internal registry;
    address internal operator = vm.addr(OPERATOR_KEY);
    bytes32 internal hubId;

    function setUp() public virtual override {
        super.setUp();
        registry = new CheckpointRegistry(address(inbox), admin, RESOLVE_DELAY);
        hubId = registry.hubIdOf(SOURCE, HUB);
        vm.prank(admin);
        registry.registerHub(hubOf(HUB, 2));
    }

    function hubOf(address hub, uint8 quorum) internal view returns (ICheckpointRegistry.Hub memory) {
        return ICheckpointRegistry.Hub({
            chain: SOURCE,
            hub: hub,
            outbox: address(uint160(uint256(OUTBOX))),
            operator: operator,
            quorum: quorum,
            gapMax: 3,
            eonSeconds: EON_SECONDS
        });
    }

    function rootOf(uint256 eon) internal pure returns (bytes32) {
        return keccak256(abi.encode("root", eon));
    }

    function checkpoint(address hub, uint64 eon, bytes32 root) internal view returns (bytes memory) {
        return abi.encodePacked(
            uint8(1),
            uint8(2),
            SOURCE,
            uint64(block.chainid),
            OUTBOX,
            uint256(uint160(address(inbox))),
            eon,
            root,
            uint32(0),
            uint256(0),
            uint256(uint160(hub))
        );
    }

    /// @dev Over both ports, and recorded.
    function carry(uint64 eon, bytes32 root) internal {
        bytes memory message = checkpoint(HUB, eon, root);
        bring(portA, message);
        bring(portB, message);
        registry.record(message);
    }

    function carry(uint64 eon) internal {
        carry(eon, rootOf(eon));
    }

    function signCheckpoint(uint256 key, uint64 eon, bytes32 root) internal view returns (bytes memory) {
        return sign(key, registry.checkpointDigest(SOURCE, HUB, eon, root));
    }

    function standingOf(uint64 eon) internal view returns (ICheckpointRegistry.Standing) {
        return registry.checkpointOf(hubId, eon).standing;
    }

    function assertStanding(uint64 eon, ICheckpointRegistry.Standing expected) internal view {
        assertEq(uint8(standingOf(eon)), uint8(expected), vm.toString(eon));
    }
}
