// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Test} from "forge-std/Test.sol";
import {Vm} from "forge-std/Vm.sol";
import {Message} from "../src/Message.sol";
import {SettlementInbox} from "../src/SettlementInbox.sol";
import {SettlementTree} from "../src/SettlementTree.sol";
import {SettlementVault} from "../src/SettlementVault.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {FakePort} from "./mocks/FakePort.sol";
import {PlainToken} from "./mocks/Tokens.sol";
import {VectorWallet} from "./mocks/VectorWallet.sol";

/// @dev The libraries, called from outside because they read calldata.
contract Libraries {
    function rootOf(bytes32[] calldata ids) external pure returns (bytes32) {
        return SettlementTree.rootOf(ids);
    }

    function rangeRoot(bytes32[] calldata ids, uint256 first, uint256 width, bytes calldata proof) external pure returns (bool, bytes32) {
        uint256 nodes = SettlementTree.allocate(ids.length);
        for (uint256 i; i < ids.length; ++i) {
            bytes32 hash = SettlementTree.leaf(ids[i]);
            assembly ("memory-safe") {
                mstore(add(nodes, shl(5, i)), hash)
            }
        }
        uint256 siblings;
        assembly ("memory-safe") {
            siblings := proof.offset
        }
        return SettlementTree.rangeRoot(nodes, ids.length, first, width, siblings, proof.length / 32);
    }

    function parse(bytes calldata raw) external pure returns (bool, Message.Header memory) {
        return Message.parse(raw);
    }
}

/// @dev Runs test/vectors/*.json, which an implementation in another language wrote; README.md there describes them.
contract VectorsTest is Test {
    Libraries private libraries = new Libraries();
    address private admin = makeAddr("admin");
    SettlementInbox private inbox;
    SettlementVault private vault;
    FakePort private port;

    function read(string memory name) private view returns (string memory) {
        return vm.readFile(string.concat("test/vectors/", name, ".json"));
    }

    // forge reads one value per path, so lists of a field are gathered element by element.

    function element(string memory array, uint256 index, string memory field) private pure returns (string memory) {
        return string.concat(array, "[", vm.toString(index), "]", field);
    }

    function size(string memory json, string memory array) private view returns (uint256 count) {
        while (vm.keyExistsJson(json, element(array, count, ""))) ++count;
    }

    function listUint(string memory json, string memory array, string memory field) private view returns (uint256[] memory list) {
        list = new uint256[](size(json, array));
        for (uint256 i; i < list.length; ++i) {
            list[i] = vm.parseJsonUint(json, element(array, i, field));
        }
    }

    function listBytes(string memory json, string memory array, string memory field) private view returns (bytes[] memory list) {
        list = new bytes[](size(json, array));
        for (uint256 i; i < list.length; ++i) {
            list[i] = vm.parseJsonBytes(json, element(array, i, field));
        }
    }

    function listBytes32(string memory json, string memory array, string memory field) private view returns (bytes32[] memory list) {
        list = new bytes32[](size(json, array));
        for (uint256 i; i < list.length; ++i) {
            list[i] = vm.parseJsonBytes32(json, element(array, i, field));
        }
    }

    function listAddress(string memory json, string memory array, string memory field) private view returns (address[] memory list) {
        list = new address[](size(json, array));
        for (uint256 i; i < list.length; ++i) {
            list[i] = vm.parseJsonAddress(json, element(array, i, field));
        }
    }

    function listString(string memory json, string memory array, string memory field) private view returns (string[] memory list) {
        list = new string[](size(json, array));
        for (uint256 i; i < list.length; ++i) {
            list[i] = vm.parseJsonString(json, element(array, i, field));
        }
    }

    function listBool(string memory json, string memory array, string memory field) private view returns (bool[] memory list) {
        list = new bool[](size(json, array));
        for (uint256 i; i < list.length; ++i) {
            list[i] = vm.parseJsonBool(json, element(array, i, field));
        }
    }

    function words(bytes memory data) private pure returns (bytes32[] memory list) {
        list = new bytes32[](data.length / 32);
        for (uint256 i; i < list.length; ++i) {
            assembly ("memory-safe") {
                mstore(add(list, mul(32, add(i, 1))), mload(add(data, mul(32, add(i, 1)))))
            }
        }
    }

    // ------------------------------------------------------------------------------------------------ tree.json

    function test_tree() public view {
        string memory json = read("tree");
        assertEq(SettlementTree.leaf(vm.parseJsonBytes32(json, ".leaf.id")), vm.parseJsonBytes32(json, ".leaf.hash"));
        uint256[] memory counts = listUint(json, ".roots", ".count");
        bytes32[] memory roots = listBytes32(json, ".roots", ".root");
        assertGt(counts.length, 20);
        for (uint256 i; i < counts.length; ++i) {
            assertEq(libraries.rootOf(treeIds(0, counts[i])), roots[i]);
        }
    }

    function test_range_proofs() public view {
        string memory json = read("tree");
        uint256[] memory counts = listUint(json, ".proofs", ".count");
        uint256[] memory firsts = listUint(json, ".proofs", ".first");
        uint256[] memory items = listUint(json, ".proofs", ".items");
        bytes[] memory proofs = listBytes(json, ".proofs", ".proof");
        bytes32[] memory roots = listBytes32(json, ".proofs", ".root");
        assertGt(counts.length, 80);
        for (uint256 i; i < counts.length; ++i) {
            (bool holds, bytes32 root) = libraries.rangeRoot(treeIds(firsts[i], items[i]), firsts[i], counts[i], proofs[i]);
            assertTrue(holds);
            assertEq(root, roots[i]);
        }
    }

    function test_false_range_proofs() public view {
        string memory json = read("tree");
        string[] memory why = listString(json, ".bad", ".why");
        uint256[] memory counts = listUint(json, ".bad", ".count");
        uint256[] memory firsts = listUint(json, ".bad", ".first");
        bytes[] memory ids = listBytes(json, ".bad", ".ids");
        bytes[] memory proofs = listBytes(json, ".bad", ".proof");
        bytes32[] memory roots = listBytes32(json, ".bad", ".root");
        bool[] memory fits = listBool(json, ".bad", ".fits");
        assertGt(why.length, 10);
        for (uint256 i; i < why.length; ++i) {
            (bool holds, bytes32 root) = libraries.rangeRoot(words(ids[i]), firsts[i], counts[i], proofs[i]);
            assertEq(holds, fits[i], why[i]);
            assertFalse(holds && root == roots[i], why[i]);
        }
    }

    function treeIds(uint256 first, uint256 count) private pure returns (bytes32[] memory ids) {
        ids = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            ids[i] = keccak256(abi.encode(first + i));
        }
    }

    // ------------------------------------------------------------------------------------------------ message.json

    function test_messages() public view {
        string memory json = read("message");
        bytes[] memory raw = listBytes(json, ".messages", ".bytes");
        assertGt(raw.length, 3);
        for (uint256 i; i < raw.length; ++i) {
            string memory path = element(".messages", i, "");
            (bool valid, Message.Header memory header) = libraries.parse(raw[i]);
            assertTrue(valid);
            assertEq(header.sourceChain, vm.parseJsonUint(json, string.concat(path, ".sourceChain")));
            assertEq(header.targetChain, vm.parseJsonUint(json, string.concat(path, ".targetChain")));
            assertEq(header.outbox, vm.parseJsonBytes32(json, string.concat(path, ".outbox")));
            assertEq(header.inbox, vm.parseJsonBytes32(json, string.concat(path, ".inbox")));
            assertEq(header.sequence, vm.parseJsonUint(json, string.concat(path, ".sequence")));
            assertEq(header.root, vm.parseJsonBytes32(json, string.concat(path, ".root")));
            assertEq(header.count, vm.parseJsonUint(json, string.concat(path, ".count")));
            assertEq(header.feeRecipient, vm.parseJsonAddress(json, string.concat(path, ".feeRecipient")));
            assertEq(keccak256(raw[i]), vm.parseJsonBytes32(json, string.concat(path, ".messageId")));
        }
        bytes[] memory bad = listBytes(json, ".bad", ".bytes");
        string[] memory why = listString(json, ".bad", ".why");
        assertGt(bad.length, 10);
        for (uint256 i; i < bad.length; ++i) {
            (bool valid,) = libraries.parse(bad[i]);
            assertFalse(valid, why[i]);
        }
    }

    // ------------------------------------------------------------------------------------------------ terms.json

    function test_terms() public {
        string memory json = read("terms");
        uint256[] memory chains = listUint(json, ".terms", ".chainId");
        address[] memory inboxes = listAddress(json, ".terms", ".inbox");
        bytes32[] memory separators = listBytes32(json, ".terms", ".separator");
        bytes32[] memory ids = listBytes32(json, ".terms", ".id");
        bytes[] memory signatures = listBytes(json, ".terms", ".signature");
        assertGt(ids.length, 5);
        for (uint256 i; i < ids.length; ++i) {
            deploy(chains[i], inboxes[i]);
            ISettlementInbox.Settlement memory terms = settlement(json, element(".terms", i, ""));
            assertEq(inbox.DOMAIN_SEPARATOR(), separators[i]);
            assertEq(inbox.settlementId(terms), ids[i]);
            assertEq(recover(ids[i], signatures[i]), terms.payer);
        }
    }

    function test_groups() public {
        string memory json = read("terms");
        bytes[] memory members = listBytes(json, ".groups", ".ids");
        bytes32[] memory roots = listBytes32(json, ".groups", ".root");
        bytes32[] memory digests = listBytes32(json, ".groups", ".digest");
        deploy(vm.parseJsonUint(json, ".groups[0].chainId"), vm.parseJsonAddress(json, ".groups[0].inbox"));
        assertGt(roots.length, 3);
        for (uint256 i; i < roots.length; ++i) {
            assertEq(libraries.rootOf(words(members[i])), roots[i]);
            assertEq(inbox.groupDigest(roots[i], members[i].length / 32), digests[i]);
        }
    }

    function recover(bytes32 digest, bytes memory signature) private pure returns (address) {
        bytes32[] memory parts = words(signature);
        return ecrecover(digest, uint8(signature[64]), parts[0], parts[1]);
    }

    // ------------------------------------------------------------------------------------------------ packed.json

    function test_packed_cases_pay_what_they_say() public {
        string memory json = read("packed");
        deploy(vm.parseJsonUint(json, ".chainId"), vm.parseJsonAddress(json, ".inbox"));
        bytes[] memory packed = listBytes(json, ".cases", ".packed");
        bytes[] memory messages = listBytes(json, ".cases", ".message");
        bytes[] memory ids = listBytes(json, ".cases", ".ids");
        uint256[] memory fees = listUint(json, ".cases", ".fees");
        assertGt(packed.length, 8);
        uint256 clean = vm.snapshotState();
        for (uint256 i; i < packed.length; ++i) {
            string memory path = element(".cases", i, "");
            string memory name = vm.parseJsonString(json, string.concat(path, ".name"));
            bring(messages[i]);
            fund(json, string.concat(path, ".debits"));
            vm.recordLogs();
            assertEq(inbox.execute(packed[i]), ids[i].length / 32, name);
            assertEq(keccak256(abi.encodePacked(paidIds())), keccak256(ids[i]), name);
            checkPaid(json, path, fees[i]);
            assertEq(inbox.execute(packed[i]), 0, name);
            vm.revertToState(clean);
        }
    }

    function test_bad_packed_bytes_are_refused() public {
        string memory json = read("packed");
        deploy(vm.parseJsonUint(json, ".chainId"), vm.parseJsonAddress(json, ".inbox"));
        bring(vm.parseJsonBytes(json, ".cases[1].message"));
        bring(vm.parseJsonBytes(json, ".cases[4].message"));
        fund(json, ".cases[4].debits");
        bytes[] memory packed = listBytes(json, ".bad", ".packed");
        string[] memory errors = listString(json, ".bad", ".error");
        string[] memory why = listString(json, ".bad", ".why");
        assertGt(packed.length, 20);
        for (uint256 i; i < packed.length; ++i) {
            (bool done, bytes memory answer) = address(inbox).call(abi.encodeCall(inbox.execute, (packed[i])));
            assertFalse(done, why[i]);
            assertEq(bytes4(answer), selectorOf(errors[i]), why[i]);
        }
        // The bytes they were made from are good.
        assertEq(inbox.execute(vm.parseJsonBytes(json, ".cases[4].packed")), 4);
    }

    function selectorOf(string memory name) private pure returns (bytes4) {
        bytes32 hash = keccak256(bytes(name));
        if (hash == keccak256("layout")) return ISettlementInbox.BadLayout.selector;
        if (hash == keccak256("root")) return ISettlementInbox.WrongRoot.selector;
        if (hash == keccak256("message")) return ISettlementInbox.BadMessage.selector;
        revert("unknown verdict");
    }

    function paidIds() private returns (bytes32[] memory ids) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        ids = new bytes32[](logs.length);
        uint256 count;
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == ISettlementInbox.SettlementPaid.selector) ids[count++] = logs[i].topics[1];
        }
        assembly ("memory-safe") {
            mstore(ids, count)
        }
    }

    function fund(string memory json, string memory path) private {
        address[] memory tokens = listAddress(json, path, ".token");
        address[] memory payers = listAddress(json, path, ".payer");
        uint256[] memory amounts = listUint(json, path, ".amount");
        for (uint256 i; i < tokens.length; ++i) {
            deposit(tokens[i], payers[i], amounts[i]);
        }
    }

    function checkPaid(string memory json, string memory path, uint256 fees) private view {
        address[] memory tokens = listAddress(json, string.concat(path, ".credits"), ".token");
        address[] memory payees = listAddress(json, string.concat(path, ".credits"), ".payee");
        uint256[] memory amounts = listUint(json, string.concat(path, ".credits"), ".amount");
        for (uint256 i; i < tokens.length; ++i) {
            assertEq(PlainToken(tokens[i]).balanceOf(payees[i]), amounts[i]);
        }
        address[] memory debited = listAddress(json, string.concat(path, ".debits"), ".token");
        address[] memory payers = listAddress(json, string.concat(path, ".debits"), ".payer");
        address recipient = address(0xfefeFEFeFEFEFEFEFeFefefefefeFEfEfefefEfe);
        uint256 paidFees;
        for (uint256 i; i < debited.length; ++i) {
            assertEq(vault.balanceOf(payers[i], debited[i]), 0);
            assertEq(PlainToken(debited[i]).balanceOf(address(vault)), 0);
            paidFees += PlainToken(debited[i]).balanceOf(recipient);
        }
        assertEq(paidFees, fees);
    }

    // ------------------------------------------------------------------------------------------------ signatures.json

    function test_signatures() public {
        string memory json = read("signatures");
        deploy(vm.parseJsonUint(json, ".chainId"), vm.parseJsonAddress(json, ".inbox"));
        string[] memory names = listString(json, ".cases", ".name");
        address[] memory payers = listAddress(json, ".cases", ".payer");
        address[] memory owners = listAddress(json, ".signers", ".payer");
        address[] memory signers = listAddress(json, ".signers", ".signer");
        for (uint256 i; i < owners.length; ++i) {
            vm.prank(owners[i]);
            vault.addSigner(signers[i]);
        }
        string[] memory wallets = listString(json, ".cases", ".wallet");
        bytes[] memory sent = listBytes(json, ".cases", ".auth");
        bytes[] memory stored = listBytes(json, ".cases", ".stored");
        bytes32[] memory ids = listBytes32(json, ".cases", ".id");
        bool[] memory verdicts = listBool(json, ".cases", ".contract");
        bool[] memory asSent = listBool(json, ".cases", ".contractAsSent");
        ISettlementInbox.Settlement memory terms = settlement(json, ".terms");
        assertGt(names.length, 30);
        uint256 clean = vm.snapshotState();
        for (uint256 i; i < names.length; ++i) {
            terms.payer = payers[i];
            if (bytes(wallets[i]).length != 0) {
                bytes memory args = abi.encode(wallets[i], vm.parseJsonAddress(json, ".walletOwner"));
                deployCodeTo("VectorWallet.sol:VectorWallet", args, payers[i]);
            }
            assertEq(inbox.settlementId(terms), ids[i], names[i]);
            deposit(terms.token, terms.payer, 2 * (terms.amount + terms.fee));
            bytes memory message = messageOf(terms);
            bring(message);
            assertEq(pays(message, terms, sent[i]), asSent[i], names[i]);
            if (!asSent[i]) assertEq(pays(message, terms, stored[i]), verdicts[i], names[i]);
            vm.revertToState(clean);
        }
    }

    function pays(bytes memory message, ISettlementInbox.Settlement memory terms, bytes memory auth) private returns (bool) {
        try inbox.executeOne(message, terms, auth, 0, new bytes32[](0)) returns (ISettlementInbox.Skip skip) {
            assertTrue(skip == ISettlementInbox.Skip.None || skip == ISettlementInbox.Skip.SignatureRefused);
            return skip == ISettlementInbox.Skip.None;
        } catch {
            assertGt(auth.length, 1024);
            return false;
        }
    }

    function messageOf(ISettlementInbox.Settlement memory terms) private view returns (bytes memory) {
        bytes32 leaf = keccak256(abi.encodePacked(uint8(0), inbox.settlementId(terms)));
        return abi.encodePacked(
            uint16(0x0101),
            uint64(terms.sourceChainId),
            uint64(block.chainid),
            uint256(uint160(address(0x0B))),
            uint256(uint160(address(inbox))),
            uint64(1),
            leaf,
            uint32(1),
            uint256(uint160(address(0xFE)))
        );
    }

    // ------------------------------------------------------------------------------------------------ the chain they speak of

    /// @dev The domain binds chain and inbox, so both must stand where the vectors say.
    function deploy(uint256 chainId, address where) private {
        vm.chainId(chainId);
        deployCodeTo("SettlementInbox.sol:SettlementInbox", abi.encode(admin, admin, 7 days, 3 days, 14 days), where);
        inbox = SettlementInbox(where);
        vault = SettlementVault(payable(inbox.vault()));
        port = new FakePort(1, where);
        vm.startPrank(admin);
        inbox.proposePort(address(port));
        inbox.activatePort(address(port));
        for (uint256 i; i < 2; ++i) {
            address token = address(i == 0 ? 0x7070707070707070707070707070707070707070 : 0x7171717171717171717171717171717171717171);
            deployCodeTo("Tokens.sol:PlainToken", "", token);
            vault.listToken(token, 6, type(uint96).max - 1, type(uint96).max - 1, 1, 1, 1);
        }
        vm.stopPrank();
    }

    function deposit(address token, address payer, uint256 amount) private {
        PlainToken(token).mint(address(this), amount);
        PlainToken(token).approve(address(vault), amount);
        vault.depositFor(payer, token, amount);
    }

    function bring(bytes memory message) private {
        (, Message.Header memory header) = libraries.parse(message);
        port.bring(header.sourceChain, header.outbox, message);
    }

    /// @dev `payer` may be absent: the signature vectors have one per case.
    function settlement(string memory json, string memory path) private view returns (ISettlementInbox.Settlement memory terms) {
        terms.jobId = vm.parseJsonBytes32(json, string.concat(path, ".jobId"));
        terms.receiptHash = vm.parseJsonBytes32(json, string.concat(path, ".receiptHash"));
        terms.proofHash = vm.parseJsonBytes32(json, string.concat(path, ".proofHash"));
        terms.sourceChainId = vm.parseJsonUint(json, string.concat(path, ".sourceChainId"));
        string memory payer = string.concat(path, ".payer");
        if (vm.keyExistsJson(json, payer)) terms.payer = vm.parseJsonAddress(json, payer);
        terms.payee = vm.parseJsonAddress(json, string.concat(path, ".payee"));
        terms.token = vm.parseJsonAddress(json, string.concat(path, ".token"));
        terms.amount = vm.parseJsonUint(json, string.concat(path, ".amount"));
        terms.fee = vm.parseJsonUint(json, string.concat(path, ".fee"));
        terms.nonce = vm.parseJsonUint(json, string.concat(path, ".nonce"));
        terms.deadline = vm.parseJsonUint(json, string.concat(path, ".deadline"));
    }
}
