"""What a run leaves behind: its folder, the log of rows, their schema, TensorBoard."""
