"""Application security (Part 2; Part 4, 6.1): certificates, trust, and the choice of an endpoint.

`settings`      security and user of a connection
`setup`         chooses the endpoint, validates the server, and prepares a client
`trust`         validation of a server certificate
`pki`           the folder of certificates and revocation lists
`certificates`  contents of certificates, and our own certificate
"""
