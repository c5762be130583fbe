"""Files that other tools write, read into batches."""
