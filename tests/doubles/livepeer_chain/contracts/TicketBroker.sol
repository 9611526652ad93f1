// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import "./BondingManager.sol";
import "./Controller.sol";
import "./RoundsManager.sol";

/// Deposits, reserves and winning tickets. Written after docs/protocol/payments.md, 4, 7 and 12: the same calls, events,
/// texts and order of checks as the deployed contract's, and the same partial payment. It is not its source.
contract TicketBroker {
    struct Ticket {
        address recipient;
        address sender;
        uint256 faceValue;
        uint256 winProb;
        uint256 senderNonce;
        bytes32 recipientRandHash;
        bytes auxData;
    }

    struct Sender {
        uint256 deposit;
        uint256 withdrawRound;
    }

    struct ReserveInfo {
        uint256 fundsRemaining;
        uint256 claimedInCurrentRound;
    }

    struct Reserve {
        uint256 funds;
        mapping(uint256 => uint256) claimed;
        mapping(uint256 => mapping(address => uint256)) claimedBy;
    }

    uint256 public constant unlockPeriod = 2;
    uint256 public constant ticketValidityPeriod = 2;
    bytes32 private constant HIGHEST_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    Controller private immutable _controller;
    mapping(address => Sender) private _senders;
    mapping(address => Reserve) private _reserves;
    mapping(bytes32 => bool) public usedTickets;

    event DepositFunded(address indexed sender, uint256 amount);
    event ReserveFunded(address indexed reserveHolder, uint256 amount);
    event ReserveClaimed(address indexed reserveHolder, address claimant, uint256 amount);
    event Unlock(address indexed sender, uint256 startRound, uint256 endRound);
    event UnlockCancelled(address indexed sender);
    event Withdrawal(address indexed sender, uint256 deposit, uint256 reserve);
    event WinningTicketTransfer(address indexed sender, address indexed recipient, uint256 amount);
    event WinningTicketRedeemed(
        address indexed sender,
        address indexed recipient,
        uint256 faceValue,
        uint256 winProb,
        uint256 senderNonce,
        uint256 recipientRand,
        bytes auxData
    );

    modifier whenNotPaused() {
        require(!_controller.paused(), "system is paused");
        _;
    }

    modifier currentRoundInitialized() {
        require(_rounds().currentRoundInitialized(), "current round is not initialized");
        _;
    }

    constructor(Controller controller) {
        _controller = controller;
    }

    // What senders do.

    function fundDepositAndReserve(uint256 deposit, uint256 reserve) external payable whenNotPaused {
        require(msg.value == deposit + reserve, "msg.value does not equal sum of deposit amount and reserve amount");
        _fundDeposit(deposit);
        _fundReserve(reserve);
    }

    function fundDeposit() external payable whenNotPaused {
        _fundDeposit(msg.value);
    }

    function fundReserve() external payable whenNotPaused {
        _fundReserve(msg.value);
    }

    function unlock() external whenNotPaused {
        Sender storage sender = _senders[msg.sender];
        require(sender.deposit > 0 || _reserves[msg.sender].funds > 0, "sender deposit and reserve are zero");
        require(sender.withdrawRound == 0, "unlock already initiated");
        uint256 round = _rounds().currentRound();
        sender.withdrawRound = round + unlockPeriod;
        emit Unlock(msg.sender, round, sender.withdrawRound);
    }

    function cancelUnlock() external whenNotPaused {
        require(_senders[msg.sender].withdrawRound != 0, "no unlock request in progress");
        _cancelUnlock();
    }

    function withdraw() external whenNotPaused {
        Sender storage sender = _senders[msg.sender];
        require(sender.deposit > 0 || _reserves[msg.sender].funds > 0, "sender deposit and reserve are zero");
        require(sender.withdrawRound != 0, "no unlock request in progress");
        require(!_isLocked(sender), "account is locked");
        uint256 deposit = sender.deposit;
        uint256 reserve = _reserves[msg.sender].funds;
        delete _senders[msg.sender];
        _reserves[msg.sender].funds = 0;
        (bool sent,) = msg.sender.call{value: deposit + reserve}("");
        require(sent, "failed to send");
        emit Withdrawal(msg.sender, deposit, reserve);
    }

    // What recipients do.

    function redeemWinningTicket(Ticket memory ticket, bytes memory sig, uint256 recipientRand)
        public
        whenNotPaused
        currentRoundInitialized
    {
        bytes32 ticketHash = getTicketHash(ticket);
        _requireWinner(ticket, ticketHash, sig, recipientRand);
        Sender storage sender = _senders[ticket.sender];
        require(_isLocked(sender), "sender is unlocked");
        require(sender.deposit > 0 || _reserves[ticket.sender].funds > 0, "sender deposit and reserve are zero");

        usedTickets[ticketHash] = true; // Before the funds are counted: it is spent, whatever it pays.
        uint256 amount = ticket.faceValue;
        if (amount > sender.deposit) {
            amount = sender.deposit + _claim(ticket.sender, ticket.recipient, amount - sender.deposit);
            sender.deposit = 0;
        } else {
            sender.deposit -= amount;
        }
        if (amount > 0) {
            _bonding().updateTranscoderWithFees{value: amount}(ticket.recipient);
            emit WinningTicketTransfer(ticket.sender, ticket.recipient, amount);
        }
        emit WinningTicketRedeemed(
            ticket.sender,
            ticket.recipient,
            ticket.faceValue,
            ticket.winProb,
            ticket.senderNonce,
            recipientRand,
            ticket.auxData
        );
    }

    function batchRedeemWinningTickets(Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory recipientRands)
        external
        whenNotPaused
        currentRoundInitialized
    {
        for (uint256 i = 0; i < tickets.length; i++) {
            try this.redeemWinningTicket(tickets[i], sigs[i], recipientRands[i]) {} catch {}
        }
    }

    // What anybody may read.

    function getSenderInfo(address sender) external view returns (Sender memory, ReserveInfo memory) {
        return (_senders[sender], getReserveInfo(sender));
    }

    function getReserveInfo(address holder) public view returns (ReserveInfo memory) {
        Reserve storage reserve = _reserves[holder];
        return ReserveInfo(reserve.funds, reserve.claimed[_rounds().currentRound()]);
    }

    function claimableReserve(address holder, address claimant) public view returns (uint256) {
        uint256 poolSize = _bonding().getTranscoderPoolSize();
        if (poolSize == 0 || !_bonding().isActiveTranscoder(claimant)) {
            return 0;
        }
        Reserve storage reserve = _reserves[holder];
        uint256 round = _rounds().currentRound();
        uint256 share = (reserve.funds + reserve.claimed[round]) / poolSize;
        uint256 taken = reserve.claimedBy[round][claimant];
        return share > taken ? share - taken : 0;
    }

    function claimedReserve(address holder, address claimant) external view returns (uint256) {
        return _reserves[holder].claimedBy[_rounds().currentRound()][claimant];
    }

    function isUnlockInProgress(address sender) external view returns (bool) {
        return _senders[sender].withdrawRound > 0;
    }

    function getTicketHash(Ticket memory ticket) public pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                ticket.recipient,
                ticket.sender,
                ticket.faceValue,
                ticket.winProb,
                ticket.senderNonce,
                ticket.recipientRandHash,
                ticket.auxData
            )
        );
    }

    // Inside.

    function _requireWinner(Ticket memory ticket, bytes32 ticketHash, bytes memory sig, uint256 recipientRand)
        private
        view
    {
        require(ticket.recipient != address(0), "ticket recipient is null address");
        require(ticket.sender != address(0), "ticket sender is null address");
        _requireRound(ticket.auxData);
        require(
            keccak256(abi.encodePacked(recipientRand)) == ticket.recipientRandHash,
            "recipientRand does not match recipientRandHash"
        );
        require(!usedTickets[ticketHash], "ticket is used");
        require(_signer(ticketHash, sig) == ticket.sender, "invalid signature over ticket hash");
        require(uint256(keccak256(abi.encodePacked(sig, recipientRand))) < ticket.winProb, "ticket did not win");
    }

    function _requireRound(bytes memory auxData) private view {
        require(auxData.length == 64, "invalid length for ticket auxData: must be 64 bytes");
        (uint256 round, bytes32 hash) = abi.decode(auxData, (uint256, bytes32));
        bytes32 stored = _rounds().blockHashForRound(round);
        require(stored != bytes32(0), "ticket creationRound does not have a block hash");
        require(stored == hash, "ticket creationRoundBlockHash invalid for creationRound");
        require(round + ticketValidityPeriod > _rounds().currentRound(), "ticket is expired");
    }

    function _signer(bytes32 ticketHash, bytes memory sig) private pure returns (address) {
        if (sig.length != 65) {
            return address(0);
        }
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly {
            r := mload(add(sig, 32))
            s := mload(add(sig, 64))
            v := byte(0, mload(add(sig, 96)))
        }
        require(s <= HIGHEST_S, "ECDSA: invalid signature 's' value");
        require(v == 27 || v == 28, "ECDSA: invalid signature 'v' value");
        return ecrecover(keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", ticketHash)), v, r, s);
    }

    function _claim(address holder, address claimant, uint256 wanted) private returns (uint256 amount) {
        uint256 claimable = claimableReserve(holder, claimant);
        amount = wanted < claimable ? wanted : claimable;
        if (amount > 0) {
            Reserve storage reserve = _reserves[holder];
            uint256 round = _rounds().currentRound();
            reserve.claimed[round] += amount;
            reserve.claimedBy[round][claimant] += amount;
            reserve.funds -= amount;
            emit ReserveClaimed(holder, claimant, amount);
        }
    }

    function _fundDeposit(uint256 amount) private {
        _senders[msg.sender].deposit += amount;
        _cancelUnlock();
        emit DepositFunded(msg.sender, amount);
    }

    function _fundReserve(uint256 amount) private {
        _reserves[msg.sender].funds += amount;
        _cancelUnlock();
        emit ReserveFunded(msg.sender, amount);
    }

    function _cancelUnlock() private {
        if (_senders[msg.sender].withdrawRound != 0) {
            _senders[msg.sender].withdrawRound = 0;
            emit UnlockCancelled(msg.sender);
        }
    }

    function _isLocked(Sender storage sender) private view returns (bool) {
        return sender.withdrawRound == 0 || _rounds().currentRound() < sender.withdrawRound;
    }

    function _rounds() private view returns (RoundsManager) {
        return RoundsManager(_controller.getContract(keccak256("RoundsManager")));
    }

    function _bonding() private view returns (BondingManager) {
        return BondingManager(_controller.getContract(keccak256("BondingManager")));
    }
}
