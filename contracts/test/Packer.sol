// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";

/// @dev Writes the packed encoding of docs/wire.md section 4 in plain ABI pieces. One growing buffer: `bytes.concat` in a loop over a thousand
/// items would need more memory than a test may use.
library Packer {
    struct Buffer {
        bytes data;
        uint256 length;
    }

    function make(uint256 capacity) internal pure returns (Buffer memory buffer) {
        buffer.data = new bytes(capacity);
    }

    function put(Buffer memory buffer, bytes memory piece) internal pure {
        require(buffer.length + piece.length <= buffer.data.length, "buffer too small");
        bytes memory data = buffer.data;
        uint256 length = buffer.length;
        assembly ("memory-safe") {
            mcopy(add(add(data, 32), length), add(piece, 32), mload(piece))
        }
        buffer.length = length + piece.length;
    }

    function done(Buffer memory buffer) internal pure returns (bytes memory data) {
        data = buffer.data;
        uint256 length = buffer.length;
        assembly ("memory-safe") {
            mstore(data, length)
        }
    }

    /// @dev Sections of settlements [lo, hi): a new one whenever token, payer or nonce word change, a new run whenever the payee does.
    /// @param auths one per settlement (mode 0), or empty: then `group` is written into each section (mode 1).
    function sections(
        Buffer memory buffer,
        ISettlementInbox.Settlement[] memory all,
        bytes[] memory auths,
        uint256 lo,
        uint256 hi,
        bytes memory group
    ) internal pure {
        while (lo < hi) {
            uint256 end = lo + 1;
            while (end < hi && sameSection(all[lo], all[end])) ++end;
            put(
                buffer,
                abi.encodePacked(
                    uint8(auths.length == 0 ? 1 : 0), all[lo].token, all[lo].payer, bytes31(bytes32((all[lo].nonce >> 8) << 8))
                )
            );
            if (auths.length == 0) put(buffer, group);
            runs(buffer, all, auths, lo, end);
            lo = end;
        }
    }

    function runs(Buffer memory buffer, ISettlementInbox.Settlement[] memory all, bytes[] memory auths, uint256 lo, uint256 hi)
        internal
        pure
    {
        uint16 count = 1;
        for (uint256 i = lo + 1; i < hi; ++i) {
            if (all[i].payee != all[i - 1].payee) ++count;
        }
        put(buffer, abi.encodePacked(count));
        while (lo < hi) {
            uint256 end = lo + 1;
            while (end < hi && all[end].payee == all[lo].payee) ++end;
            put(buffer, abi.encodePacked(all[lo].payee, uint16(end - lo)));
            for (; lo < end; ++lo) {
                put(buffer, item(all[lo]));
                if (auths.length != 0) put(buffer, abi.encodePacked(uint16(auths[lo].length), auths[lo]));
            }
        }
    }

    /// @dev What RunsPaid says of one section when all of `paid` were paid.
    function transfers(ISettlementInbox.Settlement[] memory paid) internal pure returns (bytes memory packed) {
        for (uint256 lo; lo < paid.length;) {
            (uint256 end, uint256 amount, uint256 fee) = (lo, 0, 0);
            for (; end < paid.length && paid[end].payee == paid[lo].payee; ++end) {
                amount += paid[end].amount;
                fee += paid[end].fee;
            }
            packed = bytes.concat(packed, abi.encodePacked(paid[lo].payee, uint16(end - lo), uint104(amount), uint104(fee)));
            lo = end;
        }
    }

    function item(ISettlementInbox.Settlement memory s) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(s.nonce), uint96(s.amount), uint96(s.fee), uint40(s.deadline), s.jobId, s.receiptHash, s.proofHash);
    }

    function sameSection(ISettlementInbox.Settlement memory a, ISettlementInbox.Settlement memory b) internal pure returns (bool) {
        return a.token == b.token && a.payer == b.payer && a.nonce >> 8 == b.nonce >> 8;
    }

    function proofBytes(bytes32[] memory proof) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(proof.length), proof);
    }
}
