// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// Who is an active orchestrator, and the fees that each has earned. Anybody may change it.
contract BondingManager {
    uint256 private _poolSize;
    mapping(address => bool) private _active;
    mapping(address => uint256) public fees;

    event TranscoderActivated(address indexed transcoder, uint256 activationRound);
    event TranscoderDeactivated(address indexed transcoder, uint256 deactivationRound);

    constructor(uint256 poolSize) {
        _poolSize = poolSize;
    }

    function setTranscoderPoolSize(uint256 poolSize) external {
        _poolSize = poolSize;
    }

    /// At once, and not from the next round on as with the deployed contract.
    function setActive(address transcoder, bool active, uint256 round) external {
        _active[transcoder] = active;
        if (active) {
            emit TranscoderActivated(transcoder, round);
        } else {
            emit TranscoderDeactivated(transcoder, round);
        }
    }

    function updateTranscoderWithFees(address transcoder) external payable {
        fees[transcoder] += msg.value;
    }

    function getTranscoderPoolSize() external view returns (uint256) {
        return _poolSize;
    }

    function isActiveTranscoder(address transcoder) external view returns (bool) {
        return _active[transcoder];
    }
}
