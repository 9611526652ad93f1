"""A small trickle server without I/O: named channels of numbered segments, written by one caller and read by many.

answers (statuses, headers, texts) <- segment, tally (bytes in memory) <- channel (numbers, window) <- reading, upload
(one GET, one POST) <- channels (names, bounds, time) <- requests (method and path -> what is to be done).

Nothing here reads a clock or a socket: times are arguments, in seconds of one monotonic clock, and who waits gives
a `wake` that is called when it is worth asking again. No method waits, so one event loop is all the locking there is.
Source: docs/protocol/trickle.md; where that names a bug of the reference server, its correction.
"""
