"""Charts: values in, a Plotly figure out. No database, no clock, no callbacks."""
