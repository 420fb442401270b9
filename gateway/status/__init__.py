"""The state of running services: those of one box, all at a broker, and an archive for a ticket.

`box`       the gateway and the ingests of a configuration on this box, out of their files: `lineside status`
`fleet`     every gateway and ingest that a broker knows: `lineside fleet`
`diagnose`  an archive of both, with logs and versions, without secrets: `lineside diagnose`
"""
