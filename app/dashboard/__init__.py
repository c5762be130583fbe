"""The browser's pages, in Dash."""
