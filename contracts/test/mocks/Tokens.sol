// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @dev The well-behaved token: OpenZeppelin's, with free minting.
contract PlainToken is ERC20("Plain", "PLN") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @dev A token that turns hostile on command, for transfers to one target or to everybody.
contract HostileToken is ERC20("Hostile", "HST") {
    enum Mood {
        Kind,
        Revert,
        ReturnFalse,
        ReturnTwo,
        ReturnShort,
        ReturnNothing,
        BurnGas,
        RevertBomb,
        ReturnBomb,
        TakeFee,
        CallBack
    }

    Mood public mood;
    /// @dev 0 = everybody.
    address public target;
    address public callee;
    bytes public callback;
    bool public callbackDone;
    bytes public callbackAnswer;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setMood(Mood mood_, address target_) external {
        mood = mood_;
        target = target_;
    }

    function setCallback(address callee_, bytes calldata callback_) external {
        callee = callee_;
        callback = callback_;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        if (target == address(0) || target == to) return _act(msg.sender, to, amount);
        return super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        _spendAllowance(from, msg.sender, amount);
        if (target == address(0) || target == to) return _act(from, to, amount);
        _transfer(from, to, amount);
        return true;
    }

    function _act(address from, address to, uint256 amount) private returns (bool) {
        if (mood == Mood.Revert) revert("hostile");
        if (mood == Mood.ReturnFalse) return false;
        if (mood == Mood.BurnGas) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        if (mood == Mood.RevertBomb) {
            assembly ("memory-safe") {
                revert(0, 100000)
            }
        }
        if (mood == Mood.TakeFee) {
            _burn(from, 1);
            _transfer(from, to, amount - 1);
            return true;
        }
        if (mood == Mood.CallBack) (callbackDone, callbackAnswer) = callee.call(callback);
        _transfer(from, to, amount);
        if (mood == Mood.ReturnBomb) {
            assembly ("memory-safe") {
                mstore(0, 1)
                return(0, 100000)
            }
        }
        if (mood == Mood.ReturnTwo) {
            assembly ("memory-safe") {
                mstore(0, 2)
                return(0, 32)
            }
        }
        if (mood == Mood.ReturnShort) {
            assembly ("memory-safe") {
                mstore(0, shl(248, 1))
                return(0, 31)
            }
        }
        if (mood == Mood.ReturnNothing) {
            assembly ("memory-safe") {
                return(0, 0)
            }
        }
        return true;
    }
}
