// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title Time that stands still for a payer while it, or everybody, is paused. Announcements mature on this clock.
/// @dev Pauses of one kind never overlap (a cooldown lies between them), but a payer's pause may overlap global ones; the overlap counts once.
/// Finished global pauses are kept so that the overlap with a payer's pause that ended long ago can still be told.
library UnpausedClock {
    /// @notice One pause, [start, end), and the seconds of pause that lie before it.
    struct Pause {
        uint64 start;
        uint64 end;
        uint128 before;
    }

    struct Pauses {
        Pause everybody;
        Pause[] finished;
        mapping(address => Pause) ofPayer;
    }

    /// @notice The pause that was set last for `payer`, or for everybody when `payer` is 0.
    function latest(Pauses storage self, address payer) internal view returns (Pause storage) {
        return payer == address(0) ? self.everybody : self.ofPayer[payer];
    }

    /// @notice Sets a pause from now; the caller has checked that the last one is over.
    function start(Pauses storage self, address payer, uint64 end) internal {
        uint64 now_ = uint64(block.timestamp);
        if (payer == address(0)) {
            Pause memory old = self.everybody;
            if (old.end != 0) self.finished.push(old);
            self.everybody = Pause(now_, end, old.before + (old.end - old.start));
        } else {
            self.ofPayer[payer] = Pause(now_, end, uint128(_ownPaused(self, payer)));
        }
    }

    /// @notice Whether executions for `payer` are stopped now.
    function isPaused(Pauses storage self, address payer) internal view returns (bool) {
        return block.timestamp < self.everybody.end || block.timestamp < self.ofPayer[payer].end;
    }

    /// @notice Seconds for which `payer` has been paused so far, by its own and by global pauses together.
    function pausedFor(Pauses storage self, address payer) internal view returns (uint256) {
        return _globalAt(self, block.timestamp) + _ownPaused(self, payer);
    }

    /// @notice The clock: seconds of unpaused time.
    function time(Pauses storage self, address payer) internal view returns (uint256) {
        return block.timestamp - pausedFor(self, payer);
    }

    /// @dev Seconds of the payer's own pauses that no global pause covered.
    function _ownPaused(Pauses storage self, address payer) private view returns (uint256) {
        Pause memory own = self.ofPayer[payer];
        if (own.end == 0) return 0;
        uint256 end = block.timestamp < own.end ? block.timestamp : own.end;
        return own.before + (end - own.start) - (_globalAt(self, end) - _globalAt(self, own.start));
    }

    /// @dev Seconds of global pause before `at`, a moment not in the future.
    function _globalAt(Pauses storage self, uint256 moment) private view returns (uint256) {
        Pause memory pause = self.everybody;
        if (moment < pause.start) {
            // The last finished pause that began at or before `at`, by bisection: the list grows by at most one entry per cooldown.
            uint256 low = 0;
            uint256 high = self.finished.length;
            while (low < high) {
                uint256 middle = (low + high) / 2;
                if (self.finished[middle].start <= moment) low = middle + 1;
                else high = middle;
            }
            if (low == 0) return 0;
            pause = self.finished[low - 1];
        }
        uint256 end = moment < pause.end ? moment : pause.end;
        return pause.before + (end - pause.start);
    }
}
