// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title A listed token in one word, so that `execute` reads it once: listed u8 | decimals u8 | limit1 u96 | limit2 u96 | quorum1..3 u8 each.
library TokenTiers {
    /// @dev Families are four bits wide and 0 is none, so no quorum above 15 can be met.
    uint256 internal constant MAX_QUORUM = 15;

    /// @notice Limits ascend, and so do quorums: more money never needs fewer families, and above a refused tier all is refused.
    function valid(uint96 limit1, uint96 limit2, uint8 quorum1, uint8 quorum2, uint8 quorum3) internal pure returns (bool) {
        return limit1 <= limit2 && quorum1 <= MAX_QUORUM && _ascends(quorum1, quorum2) && _ascends(quorum2, quorum3);
    }

    function _ascends(uint8 lower, uint8 upper) private pure returns (bool) {
        return upper == 0 || (lower != 0 && lower <= upper && upper <= MAX_QUORUM);
    }

    function pack(uint8 decimals, uint96 limit1, uint96 limit2, uint8 quorum1, uint8 quorum2, uint8 quorum3)
        internal
        pure
        returns (uint256)
    {
        return 1 << 224 | uint256(decimals) << 216 | uint256(limit1) << 120 | uint256(limit2) << 24 | uint256(quorum1) << 16
            | uint256(quorum2) << 8 | quorum3;
    }

    function unpack(uint256 tiers)
        internal
        pure
        returns (bool listed, uint8 decimals, uint96 limit1, uint96 limit2, uint8 quorum1, uint8 quorum2, uint8 quorum3)
    {
        listed = tiers != 0;
        decimals = uint8(tiers >> 216);
        limit1 = uint96(tiers >> 120);
        limit2 = uint96(tiers >> 24);
        quorum1 = uint8(tiers >> 16);
        quorum2 = uint8(tiers >> 8);
        quorum3 = uint8(tiers);
    }

    /// @notice The highest amount up to which every tier is open to `families` families; 0 when none is.
    function cleared(uint256 tiers, uint256 families) internal pure returns (uint256 limit) {
        uint256 quorum = tiers >> 16 & 0xff;
        if (quorum == 0 || families < quorum) return 0;
        quorum = tiers >> 8 & 0xff;
        if (quorum == 0 || families < quorum) return uint96(tiers >> 120);
        quorum = tiers & 0xff;
        return quorum == 0 || families < quorum ? uint96(tiers >> 24) : type(uint96).max;
    }

    /// @notice Families that a payment of `amount` needs; 0 = refused, as for every token that is not listed.
    function quorumFor(uint256 tiers, uint256 amount) internal pure returns (uint256) {
        if (amount <= uint96(tiers >> 120)) return tiers >> 16 & 0xff;
        if (amount <= uint96(tiers >> 24)) return tiers >> 8 & 0xff;
        return tiers & 0xff;
    }
}
