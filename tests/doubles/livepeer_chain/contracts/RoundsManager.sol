// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// Counts rounds by blocks: the chain's own, as if it were the L1 (docs/protocol/payments.md, 13). Anybody may change it.
contract RoundsManager {
    uint256 public roundLength;
    uint256 public lastInitializedRound;
    uint256 public currentRoundStartBlock;
    mapping(uint256 => bytes32) private _hashes;
    uint256 private _startRound;
    uint256 private _startBlock;

    event NewRound(uint256 indexed round, bytes32 blockHash);

    constructor(uint256 firstRound, uint256 length) {
        roundLength = length;
        _startRound = firstRound;
        _startBlock = blockNum();
    }

    function initializeRound() external {
        uint256 round = currentRound();
        require(lastInitializedRound < round, "round already initialized");
        lastInitializedRound = round;
        currentRoundStartBlock = _startBlock + (round - _startRound) * roundLength;
        _hashes[round] = blockhash(blockNum() - 1);
        emit NewRound(round, _hashes[round]);
    }

    /// As it was reported of Arbitrum: the hash may be zero.
    function setBlockHashForRound(uint256 round, bytes32 hash) external {
        _hashes[round] = hash;
    }

    function blockNum() public view returns (uint256) {
        return block.number;
    }

    function currentRound() public view returns (uint256) {
        return _startRound + (blockNum() - _startBlock) / roundLength;
    }

    function currentRoundInitialized() external view returns (bool) {
        return lastInitializedRound == currentRound();
    }

    function blockHashForRound(uint256 round) external view returns (bytes32) {
        return _hashes[round];
    }
}
