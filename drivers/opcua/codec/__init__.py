"""Decoders of OPC UA Binary (Part 6, 5.2). Pure functions, bounded by the bytes that were received.

`binary`            primitive types, counts and masks
`variant`           values of any type
`structures`        structures by their definitions; `data_types` reads the definitions from a server, `dictionaries`
                    and `type_dictionary` those of older servers
`data_changes`      data change notifications and read results, as columns
`publish_response`  publish, republish and read responses
`requests`          read, publish and republish requests
`values`            OPC UA values and status codes to values and faults of readings; `texts` and `json_text` as text
`reverse_hello`     the first message of a server that dials in
`units`             engineering units to UCUM
"""
