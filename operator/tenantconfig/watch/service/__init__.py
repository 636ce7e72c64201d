"""The gRPC edge of the hub: who may ask, what they said, what they are told.

A stream is one coroutine that writes and one task that reads. The reader changes
what the stream watches; the hub owes; the writer sleeps until it is woken, and
then says all that is owed, scope by scope, from the latest there is. A heartbeat
comes only when nothing is owed, since it vouches for what was said.

    reader ──subscribe──► Watcher ◄──owe── Hub ◄── Feed
                             │ wake
    client ◄──write── writer ┘ ◄── pulse (heartbeats), expiry of the token, drain

`stream` is what one call has to say, `calls` the methods, `server` the socket,
`encoding` the bytes.
"""
