// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {CommonBase} from "forge-std/Base.sol";
import {ILayerZeroEndpointV2} from "@layerzerolabs/lz-evm-protocol-v2/contracts/interfaces/ILayerZeroEndpointV2.sol";

struct UlnConfig {
    uint64 confirmations;
    uint8 requiredDVNCount;
    uint8 optionalDVNCount;
    uint8 optionalDVNThreshold;
    address[] requiredDVNs;
    address[] optionalDVNs;
}

struct ExecutorConfig {
    uint32 maxMessageSize;
    address executor;
}

/// @dev The part of both message libraries that the tests call, written from their ABI.
interface IUln {
    struct ExecutorDefault {
        uint32 eid;
        ExecutorConfig config;
    }

    struct UlnDefault {
        uint32 eid;
        UlnConfig config;
    }

    error LZ_ULN_Verifying();

    function setDefaultExecutorConfigs(ExecutorDefault[] calldata params) external;
    function setDefaultUlnConfigs(UlnDefault[] calldata params) external;
    function getExecutorConfig(address oapp, uint32 eid) external view returns (ExecutorConfig memory);
    function getUlnConfig(address oapp, uint32 eid) external view returns (UlnConfig memory);
    function verify(bytes calldata header, bytes32 payloadHash, uint64 confirmations) external;
    function commitVerification(bytes calldata header, bytes32 payloadHash) external;
}

interface IEndpointErrors {
    error LZ_InvalidNonce(uint64 nonce);
    error LZ_PathNotInitializable();
    error LZ_Unauthorized();
    error LZ_InsufficientFee(uint256 requiredNative, uint256 suppliedNative, uint256 requiredLzToken, uint256 suppliedLzToken);
    function delegates(address oapp) external view returns (address);
}

/// @dev The smallest worker that SendUln302 takes as executor and as verifier; charges a fixed fee for each job.
contract Worker {
    uint256 public constant FEE = 1000;

    struct AssignJobParam {
        uint32 dstEid;
        bytes packetHeader;
        bytes32 payloadHash;
        uint64 confirmations;
        address sender;
    }

    function assignJob(uint32, address, uint256, bytes calldata) external pure returns (uint256) {
        return FEE;
    }

    function getFee(uint32, address, uint256, bytes calldata) external pure returns (uint256) {
        return FEE;
    }

    function assignJob(AssignJobParam calldata, bytes calldata) external payable returns (uint256) {
        return FEE;
    }

    function getFee(uint32, uint64, address, bytes calldata) external pure returns (uint256) {
        return FEE;
    }
}

/// @dev Deploys LayerZero's own contracts from the artifacts in its packages and wires them with defaults that nobody should rely on.
abstract contract RealLayerZero is CommonBase {
    struct Protocol {
        uint32 eid;
        ILayerZeroEndpointV2 endpoint;
        IUln sendLibrary;
        IUln receiveLibrary;
        address worker;
    }

    string private constant PACKAGES = "node_modules/@layerzerolabs/";

    function deployProtocol(uint32 eid, uint32 remote, address defaultDvn) internal returns (Protocol memory made) {
        made.eid = eid;
        made.endpoint = ILayerZeroEndpointV2(
            deployArtifact("lz-evm-protocol-v2/artifacts/contracts/EndpointV2.sol/EndpointV2.json", abi.encode(eid, address(this)))
        );
        string memory folder = "lz-evm-messagelib-v2/artifacts/contracts/uln/uln302/";
        made.sendLibrary =
            IUln(deployArtifact(string.concat(folder, "SendUln302.sol/SendUln302.json"), abi.encode(made.endpoint, 100_000, 0.01 ether)));
        made.receiveLibrary = IUln(deployArtifact(string.concat(folder, "ReceiveUln302.sol/ReceiveUln302.json"), abi.encode(made.endpoint)));
        made.worker = address(new Worker());
        made.endpoint.registerLibrary(address(made.sendLibrary));
        made.endpoint.registerLibrary(address(made.receiveLibrary));
        IUln.ExecutorDefault[] memory executors = new IUln.ExecutorDefault[](1);
        executors[0] = IUln.ExecutorDefault(remote, ExecutorConfig(10_000, made.worker));
        made.sendLibrary.setDefaultExecutorConfigs(executors);
        setDefaultDvn(made, remote, defaultDvn);
        made.endpoint.setDefaultSendLibrary(remote, address(made.sendLibrary));
        made.endpoint.setDefaultReceiveLibrary(remote, address(made.receiveLibrary), 0);
    }

    function setDefaultDvn(Protocol memory protocol, uint32 remote, address dvn) internal {
        IUln.UlnDefault[] memory params = new IUln.UlnDefault[](1);
        params[0] = IUln.UlnDefault(remote, UlnConfig(1, 1, 0, 0, one(dvn), new address[](0)));
        protocol.receiveLibrary.setDefaultUlnConfigs(params);
        params[0].config.requiredDVNs = one(protocol.worker);
        protocol.sendLibrary.setDefaultUlnConfigs(params);
    }

    /// @dev One required verifier, none optional, spelled out so that nothing defers to a default.
    function uln(address dvn, uint64 confirmations) internal pure returns (bytes memory) {
        return abi.encode(UlnConfig(confirmations, 1, 255, 0, one(dvn), new address[](0)));
    }

    function one(address item) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = item;
    }

    function deployArtifact(string memory path, bytes memory args) private returns (address made) {
        bytes memory code = vm.parseJsonBytes(vm.readFile(string.concat(PACKAGES, path)), ".bytecode");
        code = bytes.concat(code, args);
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
        }
        require(made != address(0), path);
    }
}
