// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {console} from "forge-std/console.sol";

import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {FakePort} from "./mocks/FakePort.sol";
import {Fixture} from "./Fixture.sol";
import {Packer} from "./Packer.sol";
import {PlainTree} from "./PlainTree.sol";

interface IGasCheats {
    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function lastCallGas() external view returns (Gas memory);
}

/// @dev Gas of whole transactions per settlement. Every call is a transaction of its own (`isolate`), so storage is cold and 21,000 and calldata are
/// in the figure; the calldata floor of EIP-7623, which the compiled hardfork does not have, is computed from the bytes.
/// forge-config: default.isolate = true
contract ExecuteGasTest is Fixture {
    using Packer for Packer.Buffer;

    uint256 internal constant MAX_BYTES = 120_000;
    uint256 internal constant MAX_GAS = 16_000_000;

    uint256 internal nextWord = 0x100;

    enum Payees {
        Fresh,
        Holding,
        Eighth,
        One
    }

    function setUp() public override {
        super.setUp();
        // The vault and the fee recipient hold the token, the counters have counted: the steady state of a service.
        fund(payer, 1_000_000_000e6);
        token.mint(feeRecipient, 1);
        run(Payees.Holding, 1, 0);
    }

    function wholeTransaction(bytes memory data) internal view returns (uint256 gas) {
        gas = IGasCheats(address(vm)).lastCallGas().gasTotalUsed;
        uint256 tokens;
        for (uint256 i; i < data.length; ++i) {
            tokens += data[i] == 0 ? 1 : 4;
        }
        uint256 floor = 21_000 + 10 * tokens;
        if (gas < floor) gas = floor;
    }

    function batch(Payees shape, uint256 n) internal returns (ISettlementInbox.Settlement[] memory all) {
        uint256 payees = shape == Payees.One ? 1 : shape == Payees.Eighth ? (n + 7) / 8 : n;
        all = new ISettlementInbox.Settlement[](n);
        uint256 word = nextWord;
        nextWord += 8;
        for (uint256 i; i < n; ++i) {
            address to = address(uint160(uint256(keccak256(abi.encode(word, i * payees / n)))));
            all[i] = terms(to, 10e6 + i, (word << 8) + i);
            if (shape != Payees.Fresh) token.mint(to, 1);
        }
    }

    /// @return gas of the whole transaction, `size` of the packed bytes.
    function run(Payees shape, uint256 n, uint256 mode) internal returns (uint256 gas, uint256 size) {
        ISettlementInbox.Settlement[] memory all = batch(shape, n);
        bytes32[] memory ids = idsOf(all);
        bytes memory message = messageOf(ids);
        bring(portA, message);
        bring(portB, message);
        Packer.Buffer memory buffer = Packer.make(1000 + n * 250);
        buffer.put(message);
        buffer.put(abi.encodePacked(uint32(0), uint16(n), uint8(0)));
        if (mode == 0) {
            buffer.sections(all, signAll(ids), 0, n, "");
        } else {
            // One group per nonce word.
            for (uint256 lo; lo < n; lo += 256) {
                uint256 hi = lo + 256 < n ? lo + 256 : n;
                bytes32[] memory members = slice(ids, lo, hi);
                buffer.sections(all, new bytes[](0), lo, hi, groupOf(members, 0, hi - lo, PAYER_KEY));
            }
        }
        bytes memory packed = buffer.done();
        size = packed.length;
        assertEq(inbox.execute(packed), n);
        gas = wholeTransaction(abi.encodeCall(inbox.execute, (packed)));
    }

    /// @dev One line of the published table; the last column is the largest batch that stays under MAX_BYTES and MAX_GAS.
    function row(string memory name, Payees shape, uint256 mode) internal returns (uint256 at128) {
        (uint256 g1,) = run(shape, 1, mode);
        (uint256 g16,) = run(shape, 16, mode);
        (uint256 g128, uint256 size) = run(shape, 128, mode);
        at128 = g128 / 128;
        uint256 most = 128 * MAX_BYTES / size;
        if (most * g128 / 128 > MAX_GAS) most = 128 * MAX_GAS / g128;
        if (most > 1024) most = 1024;
        (uint256 gMost, uint256 sizeMost) = run(shape, most, mode);
        assertLe(sizeMost, MAX_BYTES);
        assertLe(gMost, MAX_GAS);
        console.log(string.concat(name, vm.toString(g1), " ", vm.toString(g16 / 16), " ", vm.toString(at128)), gMost / most, most);
    }

    function test_gas_per_settlement_stays_within_the_published_limits() public {
        console.log("mode 0, whole transaction / n: payees, n = 1 16 128, largest, its n");
        row("fresh    ", Payees.Fresh, 0);
        uint256 distinct = row("holding  ", Payees.Holding, 0);
        uint256 eighth = row("n/8      ", Payees.Eighth, 0);
        uint256 one = row("one      ", Payees.One, 0);
        assertLe(distinct, 20_060, "n distinct payees");
        assertLe(eighth, 11_600, "n/8 payees");
        assertLe(one, 10_450, "one payee");
    }

    function test_gas_of_groups_stays_within_the_published_limits() public {
        console.log("mode 1, whole transaction / n: payees, n = 1 16 128, largest, its n");
        row("fresh    ", Payees.Fresh, 1);
        uint256 distinct = row("holding  ", Payees.Holding, 1);
        uint256 eighth = row("n/8      ", Payees.Eighth, 1);
        uint256 one = row("one      ", Payees.One, 1);
        assertLe(distinct, 15_750, "n distinct payees");
        assertLe(eighth, 7_250, "n/8 payees");
        assertLe(one, 6_100, "one payee");
    }

    function test_recording_a_message_stays_within_the_published_limits() public {
        bytes memory message = header(keccak256("root"), 128, 7);
        vm.startPrank(address(portA));
        inbox.receiveMessage(SOURCE, OUTBOX, message);
        uint256 first = wholeTransaction(abi.encodeCall(inbox.receiveMessage, (SOURCE, OUTBOX, message)));
        vm.stopPrank();
        vm.startPrank(address(portB));
        inbox.receiveMessage(SOURCE, OUTBOX, message);
        uint256 second = wholeTransaction(abi.encodeCall(inbox.receiveMessage, (SOURCE, OUTBOX, message)));
        inbox.receiveMessage(SOURCE, OUTBOX, message);
        uint256 again = wholeTransaction(abi.encodeCall(inbox.receiveMessage, (SOURCE, OUTBOX, message)));
        vm.stopPrank();
        console.log("recording: first, second port, repeated", first, second, again);
        assertLe(first, 55_000);
        assertLe(second, 40_000);
    }
}
