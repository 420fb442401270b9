"""The address space of a server (Part 3; Part 4, 5.9): node lookup, exploration, and metadata.

`resolve`           settings of points to node ids
`references`        references of nodes
`point_types`       data types that points need
`search`            points that match a pattern
`browser`           walks the tree of objects and variables from `start_node`; `nodes` contains the result
`variable_details`  types and values of the found variables; `type_hierarchy` knows the types
`node_metadata`     range, unit, labels and description of variables
`point_candidates`  points for a template; `point_names` and `companion_names` name them
"""
