// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @dev The wrapped coin that CCIP's Router turns native fees into.
contract WrappedNative is ERC20("Wrapped", "WRAP") {
    function deposit() external payable {
        _mint(msg.sender, msg.value);
    }
}

/// @dev Put in a port's place, makes its receive callback need more gas; all else is the port's, whose code stands elsewhere.
contract HungryPort {
    bytes4 private constant RECEIVE = 0x85572ffb;
    address private immutable _port;
    uint256 private immutable _burnt;

    constructor(address port, uint256 burnt) {
        (_port, _burnt) = (port, burnt);
    }

    fallback() external payable {
        if (msg.sig == RECEIVE) {
            uint256 enough = gasleft() > _burnt ? gasleft() - _burnt : 0;
            while (gasleft() > enough) {}
        }
        address port = _port;
        assembly ("memory-safe") {
            calldatacopy(0, 0, calldatasize())
            let done := delegatecall(gas(), port, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            if iszero(done) { revert(0, returndatasize()) }
            return(0, returndatasize())
        }
    }
}
