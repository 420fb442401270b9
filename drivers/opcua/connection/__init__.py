"""Connection to a server, from the socket to the closed session.

`transport`         asyncua's transport with bounded messages
`client`            asyncua's client with protected passwords
`reverse`           connections of servers that dial in
`session`           requests within the limits of the server; opens and closes sessions
`keep_alive`        silence of a server, and its clock
`session_takeover`  messages of a session whose connection was lost
`paced_session`     a session with a bounded rate of requests
`discovery`         endpoints and servers, before a session
"""
