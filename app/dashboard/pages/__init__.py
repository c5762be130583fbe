"""The pages: each a layout, and callbacks that read in a thread and render what they read."""
