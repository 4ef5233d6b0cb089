"""What ``make perf`` measures: the bridge at full size against the plain loop, and how data are prepared."""
