"""The configuration: YAML -> frozen pydantic models, one file a section.

`load.load_factory` is the way in. Nothing inside the gateway sees a raw mapping. This file imports nothing,
so that stores and drivers can declare their own sections with `gateway.common.setting_types`.
"""
