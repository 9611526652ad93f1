"""What a container may do for its session with the session's token: channels, proxies, and its end.

Containers know this from Livepeer's nodes (docs/protocol/livepeer-node.md, 8.3; docs/protocol/live-runner.md, 5), so
that those written for a node work unchanged. What was made stays under its URLs over a restart, and goes with its
session.

    urls              under which addresses containers and clients reach it
    session_channels  the names of a session's channels (pure)
    proxies           what a proxy leads to (pure)
    grants            which addresses a proxy may dial (pure)
    tables            what is kept of it
    runner_side       brings them together: what the door calls
"""
