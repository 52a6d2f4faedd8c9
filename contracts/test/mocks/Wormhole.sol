// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {CommonBase} from "forge-std/Base.sol";
import {IWormholeCore} from "../../src/interfaces/IWormholeCore.sol";

/// @dev Deploys Wormhole's own core from the code `bin/wormhole.js` fetched, and plays its guardians.
abstract contract RealWormhole is CommonBase {
    struct Body {
        uint32 timestamp;
        uint32 nonce;
        uint16 chain;
        bytes32 emitter;
        uint64 sequence;
        uint8 consistency;
        bytes payload;
    }

    bytes32 private constant SETUP = 0xd68eb7f945183e22a3ac38554bfcb5feef6bdfe17d5d2e94aa8596da1462df0a;
    bytes32 private constant IMPLEMENTATION = 0x344ec4faa9a0b44948fe619a3d63fa1ad708af0c3dac6404b767140800f8d12f;
    bytes32 private constant WORMHOLE = 0x2e7d17dc0a5abf3e69ce28e8736b9b66a813a7522d740a17865cde7f57ab7409;
    uint16 private constant GOVERNANCE_CHAIN = 1;
    bytes32 private constant GOVERNANCE = bytes32(uint256(4));
    bytes32 private constant CORE_MODULE = bytes32(uint256(0x436f7265));

    uint64 private governanceSequence;

    /// @dev A core for the chain `vm.chainId` says, with guardians of set 0.
    function deployCore(uint16 wormholeChain, uint256 guardians) internal returns (IWormholeCore) {
        address implementation = create(code("Implementation", IMPLEMENTATION));
        address setup = create(code("Setup", SETUP));
        bytes memory init = abi.encodeWithSignature(
            "setup(address,address[],uint16,uint16,bytes32,uint256)",
            implementation,
            addresses(0, guardians),
            wormholeChain,
            GOVERNANCE_CHAIN,
            GOVERNANCE,
            block.chainid
        );
        return IWormholeCore(create(bytes.concat(code("Wormhole", WORMHOLE), abi.encode(setup, init))));
    }

    function guardianKey(uint32 set, uint256 index) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("worthless guardian", set, index)));
    }

    function addresses(uint32 set, uint256 guardians) internal pure returns (address[] memory list) {
        list = new address[](guardians);
        for (uint256 i; i < guardians; ++i) {
            list[i] = vm.addr(guardianKey(set, i));
        }
    }

    function encode(Body memory body) internal pure returns (bytes memory) {
        return abi.encodePacked(body.timestamp, body.nonce, body.chain, body.emitter, body.sequence, body.consistency, body.payload);
    }

    function digestOf(Body memory body) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(keccak256(encode(body))));
    }

    /// @dev Signed by the first `signers` guardians of `set`.
    function sign(Body memory body, uint32 set, uint256 signers) internal pure returns (bytes memory) {
        uint256[] memory indices = new uint256[](signers);
        for (uint256 i; i < signers; ++i) {
            indices[i] = i;
        }
        return signAs(body, set, set, indices);
    }

    function signAs(Body memory body, uint32 named, uint32 keys, uint256[] memory indices) internal pure returns (bytes memory vaa) {
        bytes32 digest = digestOf(body);
        vaa = abi.encodePacked(uint8(1), named, uint8(indices.length));
        for (uint256 i; i < indices.length; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(guardianKey(keys, indices[i]), digest);
            vaa = abi.encodePacked(vaa, uint8(indices[i]), r, s, v - 27);
        }
        vaa = bytes.concat(vaa, encode(body));
    }

    /// @dev Brings in the next guardian set, signed by the current one.
    function rotate(IWormholeCore core, uint256 guardians, uint256 nextGuardians) internal {
        uint32 next = core.getCurrentGuardianSetIndex() + 1;
        bytes memory payload = abi.encodePacked(CORE_MODULE, uint8(2), uint16(0), next, uint8(nextGuardians));
        address[] memory keys = addresses(next, nextGuardians);
        for (uint256 i; i < keys.length; ++i) {
            payload = abi.encodePacked(payload, keys[i]);
        }
        core.submitNewGuardianSet(govern(payload, next - 1, guardians));
    }

    function setMessageFee(IWormholeCore core, uint256 guardians, uint256 fee) internal {
        bytes memory payload = abi.encodePacked(CORE_MODULE, uint8(3), core.chainId(), fee);
        core.submitSetMessageFee(govern(payload, core.getCurrentGuardianSetIndex(), guardians));
    }

    function govern(bytes memory payload, uint32 set, uint256 guardians) private returns (bytes memory) {
        Body memory body = Body(1, 0, GOVERNANCE_CHAIN, GOVERNANCE, governanceSequence++, 0, payload);
        return sign(body, set, guardians * 2 / 3 + 1);
    }

    function code(string memory name, bytes32 pinned) private view returns (bytes memory found) {
        string memory path = string.concat("node_modules/.wormhole-core/", name, ".json");
        found = vm.parseJsonBytes(vm.readFile(path), ".bytecode");
        require(keccak256(found) == pinned, name);
    }

    function create(bytes memory creation) private returns (address made) {
        assembly ("memory-safe") {
            made := create(0, add(creation, 32), mload(creation))
        }
        require(made != address(0), "create");
    }
}
