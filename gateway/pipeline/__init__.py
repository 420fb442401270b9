"""Pure steps on scans: totals, normalize, report by exception, machine status."""
