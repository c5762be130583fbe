"""Tables and queries. Functions take a connection, return records of `app.runs`; whoever opened it commits."""
