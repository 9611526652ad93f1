// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// Names the contracts of the protocol, and can pause it. A stand-in, after docs/protocol/payments.md, 11 and 12.
contract Controller {
    mapping(bytes32 => address) private _contracts;
    bool public paused;

    function setContract(bytes32 id, address contract_) external {
        _contracts[id] = contract_;
    }

    function getContract(bytes32 id) public view returns (address) {
        return _contracts[id];
    }

    function setPaused(bool on) external {
        paused = on;
    }
}
