// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Test} from "forge-std/Test.sol";
import {CheckpointRegistry} from "../src/CheckpointRegistry.sol";
import {SettlementInbox} from "../src/SettlementInbox.sol";
import {ICheckpointRegistry} from "../src/interfaces/ICheckpointRegistry.sol";
import {FakePort} from "./mocks/FakePort.sol";

/// @dev Brings, signs, records and resolves whatever in whatever order, and keeps a plain model of who said what.
contract CheckpointHandler is Test {
    uint64 public constant SOURCE = 5;
    uint64 public constant EONS = 14;
    uint64 public constant FIRST = 2;
    uint256 public constant ROOTS = 3;
    uint256 public constant QUORUM = 2;
    address public constant HUB = address(0x4B);
    address private constant OUTBOX = address(0xB0B);
    uint256 private constant OPERATOR_KEY = 0x0BE2A702;
    uint256 private constant DELAY = 1 days;

    SettlementInbox public inbox;
    CheckpointRegistry public registry;
    bytes32 public hubId;
    FakePort[5] private _ports;
    bool[5] private _removed;
    /// @dev Families that said it, one bit each; a removed port's word is taken out when counting.
    mapping(uint64 eon => mapping(uint256 which => bool[5])) private _brought;
    mapping(uint64 eon => mapping(uint256 which => bool)) private _signed;
    mapping(uint64 eon => mapping(bytes32 root => bool)) public lost;
    /// @dev Eons of which the owner chose neither root at least once.
    mapping(uint64 eon => bool) public cleared;
    /// @dev Highest eon that was ever recorded, and what the last look at each eon showed.
    uint64 public highest;
    mapping(uint64 eon => bytes32) public seen;

    uint256 public withoutQuorum;
    uint256 public replaced;
    uint256 public wentBack;
    uint256 public recordings;
    uint256 public conflicts;
    uint256 public clearings;
    uint256 public refilled;

    constructor() {
        inbox = new SettlementInbox(address(this), address(this), 7 days, 3 days, 14 days);
        registry = new CheckpointRegistry(address(inbox), address(this), DELAY);
        for (uint256 i; i < 5; ++i) {
            // Two ports of family 1, two of family 2, one of family 3.
            // forge-lint: disable-next-line(unsafe-typecast)
            _ports[i] = new FakePort(uint8(i / 2 + 1), address(inbox));
            inbox.proposePort(address(_ports[i]));
            inbox.activatePort(address(_ports[i]));
        }
        // forge-lint: disable-next-line(unsafe-typecast)
        registry.registerHub(ICheckpointRegistry.Hub(SOURCE, HUB, OUTBOX, FIRST, vm.addr(OPERATOR_KEY), uint8(QUORUM), 3, 1 hours));
        hubId = registry.hubIdOf(SOURCE, HUB);
    }

    function rootOf(uint64 eon, uint256 which) public pure returns (bytes32) {
        return keccak256(abi.encode(eon, which));
    }

    function message(uint64 eon, uint256 which) private view returns (bytes memory) {
        return abi.encodePacked(
            uint16(0x0102),
            SOURCE,
            uint64(block.chainid),
            uint256(uint160(OUTBOX)),
            uint256(uint160(address(inbox))),
            eon,
            rootOf(eon, which),
            uint32(0),
            uint256(0),
            uint256(uint160(HUB))
        );
    }

    /// @dev Mostly the true root (0), and eons near the newest, or nothing would ever be recorded.
    function pick(uint256 seed) private view returns (uint64 eon, uint256 which) {
        uint256 near = seed % 4 == 0 ? seed >> 8 : uint256(highest) + (seed >> 8) % 5;
        // forge-lint: disable-next-line(unsafe-typecast)
        eon = uint64(near > 2 ? (near - 2) % EONS + 1 : 1);
        which = (seed >> 128) % 4 < 3 ? 0 : (seed >> 136) % ROOTS;
    }

    function bring(uint256 port, uint256 seed) public {
        (uint64 eon, uint256 which) = pick(seed);
        port %= 5;
        if (_removed[port]) return;
        _ports[port].bring(SOURCE, bytes32(uint256(uint160(OUTBOX))), message(eon, which));
        _brought[eon][which][port] = true;
    }

    function record(uint256 seed) public {
        (uint64 eon, uint256 which) = pick(seed);
        try registry.record(message(eon, which)) {
            note(eon, which);
        } catch {}
    }

    function sign(uint256 seed) public {
        (uint64 eon, uint256 which) = pick(seed);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(OPERATOR_KEY, registry.checkpointDigest(SOURCE, HUB, eon, rootOf(eon, which)));
        try registry.recordSigned(SOURCE, HUB, eon, rootOf(eon, which), abi.encodePacked(r, s, v)) {
            _signed[eon][which] = true;
            note(eon, which);
        } catch {}
    }

    /// @dev As often as everything else together, two families bring the true root and it is recorded.
    function carry(uint256 port, uint256 seed) public {
        bring(port, seed);
        bring(port + 2, seed);
        record(seed);
    }

    function removePort(uint256 port) public {
        port %= 40;
        if (port > 1 || _removed[port]) return;
        inbox.removePort(address(_ports[port]));
        _removed[port] = true;
    }

    function resolve(uint256 seed, bool early) public {
        for (uint64 eon = 1; eon <= EONS; ++eon) {
            ICheckpointRegistry.Checkpoint memory found = registry.checkpointOf(hubId, eon);
            if (found.other == 0) continue;
            bytes32 kept = seed % 3 == 0 ? found.root : seed % 3 == 1 ? found.other : bytes32(0);
            registry.announceResolution(hubId, eon, kept);
            vm.warp(vm.getBlockTimestamp() + DELAY - (early ? 1 : 0));
            try registry.resolve(hubId, eon, kept) {
                if (early) ++replaced;
                if (kept != found.root) lost[eon][found.root] = true;
                if (kept != found.other) lost[eon][found.other] = true;
                seen[eon] = kept;
                if (kept == 0) {
                    cleared[eon] = true;
                    ++clearings;
                }
            } catch {}
        }
    }

    function wait(uint256 time) public {
        vm.warp(vm.getBlockTimestamp() + time % 3 hours);
    }

    function familiesOf(uint64 eon, uint256 which) public view returns (uint256 families) {
        if (_signed[eon][which]) ++families;
        bool[5] storage brought = _brought[eon][which];
        if ((brought[0] && !_removed[0]) || (brought[1] && !_removed[1])) ++families;
        if ((brought[2] && !_removed[2]) || (brought[3] && !_removed[3])) ++families;
        if (brought[4] && !_removed[4]) ++families;
    }

    /// @dev After a call that may have recorded this root.
    function note(uint64 eon, uint256 which) private {
        ICheckpointRegistry.Checkpoint memory found = registry.checkpointOf(hubId, eon);
        bytes32 root = rootOf(eon, which);
        bytes32 before = seen[eon];
        if (found.root == root && before == 0) {
            ++recordings;
            if (cleared[eon]) ++refilled;
            if (familiesOf(eon, which) < QUORUM) ++withoutQuorum;
            seen[eon] = root;
        } else if (found.other == root) {
            ++conflicts;
            // A port may have been removed since the second root came.
            if (familiesOf(eon, which) < QUORUM && !_removed[0] && !_removed[1]) ++withoutQuorum;
        }
        if (before != 0 && found.root != before) ++replaced;
        (uint64 last,) = registry.stateOf(hubId);
        if (last < highest) ++wentBack;
        highest = last;
    }
}

/// @dev What a registry promises whatever anybody does: no root without its quorum, and no second root unnoticed.
contract CheckpointInvariants is Test {
    CheckpointHandler private handler;
    CheckpointRegistry private registry;

    function setUp() public {
        vm.warp(1_800_000_000);
        handler = new CheckpointHandler();
        registry = handler.registry();
        targetContract(address(handler));
        bytes4[] memory selectors = new bytes4[](8);
        selectors[0] = handler.bring.selector;
        selectors[1] = handler.record.selector;
        selectors[2] = handler.sign.selector;
        selectors[3] = handler.carry.selector;
        selectors[4] = handler.carry.selector;
        selectors[5] = handler.removePort.selector;
        selectors[6] = handler.resolve.selector;
        selectors[7] = handler.wait.selector;
        targetSelector(FuzzSelector(address(handler), selectors));
    }

    function invariant_no_root_without_quorum_and_no_conflict_unnoticed() public view {
        assertEq(handler.withoutQuorum(), 0, "recorded without its quorum");
        assertEq(handler.replaced(), 0, "changed without a resolution");
        assertEq(handler.wentBack(), 0, "the newest eon went back");
        bytes32 hubId = handler.hubId();
        (uint64 last, bool frozen) = registry.stateOf(hubId);
        bool conflicting;
        uint64 newest;
        for (uint64 eon = 1; eon <= handler.EONS(); ++eon) {
            ICheckpointRegistry.Checkpoint memory found = registry.checkpointOf(hubId, eon);
            assertEq(found.root, handler.seen(eon), "nobody else records");
            // An eon of which neither root stands was recorded all the same.
            if (found.root != 0 || handler.cleared(eon)) newest = eon;
            assertTrue(found.root == 0 || eon >= handler.FIRST(), "nothing before the first eon");
            if (found.other != 0) conflicting = true;
            assertTrue(found.root == 0 || !handler.lost(eon, found.root), "what lost stands");
            assertTrue(found.other == 0 || found.other != found.root);
            ICheckpointRegistry.Standing expected = found.root == 0
                ? ICheckpointRegistry.Standing.Unknown
                : found.other != 0
                    ? ICheckpointRegistry.Standing.Conflicting
                    : eon < last ? ICheckpointRegistry.Standing.Final : ICheckpointRegistry.Standing.Provisional;
            assertEq(uint8(found.standing), uint8(expected));
        }
        // One eon at a time: asking for all of them after every call would cost more than everything else.
        uint64 looked = uint64(vm.getBlockTimestamp() % handler.EONS()) + 1;
        for (uint256 which; which < handler.ROOTS(); ++which) {
            assertEq(registry.familiesOf(hubId, looked, handler.rootOf(looked, which)), handler.familiesOf(looked, which));
        }
        assertEq(last, newest);
        assertEq(frozen, conflicting, "frozen exactly while two roots contradict each other");
    }

    /// @dev The handler reaches what the invariants speak of.
    function test_the_handler_records_and_conflicts() public {
        for (uint256 i; i < 400; ++i) {
            uint256 seed = uint256(keccak256(abi.encode(i)));
            handler.carry(i, seed);
            if (i % 20 == 19) handler.resolve(seed, i % 40 == 19);
            if (i % 3 == 0) handler.sign(seed);
        }
        assertGt(handler.recordings(), 8);
        assertGt(handler.conflicts(), 2);
        assertGt(handler.clearings(), 0);
        assertGt(handler.refilled(), 0);
        invariant_no_root_without_quorum_and_no_conflict_unnoticed();
    }
}
