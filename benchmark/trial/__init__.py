"""One configuration of one method -> one row: training driven epoch by epoch, metrics, costs."""
