"""Pure steps on scans: normalize, report by exception, machine status."""
