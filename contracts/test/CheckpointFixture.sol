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
    /// @dev The eon the hub is in by its clock when a test begins; registered hubs begin in eon 1.
    uint64 internal constant NOW = 100;
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
        vm.warp(vm.getBlockTimestamp() + (NOW - 1) * uint256(EON_SECONDS));
    }

    function hubOf(address hub, uint8 quorum) internal view returns (ICheckpointRegistry.Hub memory) {
        return ICheckpointRegistry.Hub({
            chain: SOURCE,
            hub: hub,
            outbox: address(uint160(uint256(OUTBOX))),
            operator: operator,
            quorum: quorum,
            gapMax: 3,
            eonSeconds: EON_SECONDS,
            firstEon: 1
        });
    }

    /// @dev One family over a bridge is enough, which it can be only where the operator's word does not count.
    function bridgedHub(address hub) internal view returns (ICheckpointRegistry.Hub memory bridged) {
        bridged = hubOf(hub, 1);
        bridged.operator = address(0);
    }

    /// @dev The operator's word alone.
    function signedHub(address hub) internal view returns (ICheckpointRegistry.Hub memory signed) {
        signed = hubOf(hub, 1);
        signed.outbox = address(0);
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

    /// @dev Over both ports, and refused for its eon.
    function refusedEon(uint64 eon, uint64 last) internal {
        bytes memory message = checkpoint(HUB, eon, rootOf(eon));
        bring(portA, message);
        bring(portB, message);
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.EonTooNew.selector, eon, last));
        registry.record(message);
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
