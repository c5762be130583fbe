"""What each page needs from the database, in one snapshot. Blocking: callbacks run these in a thread."""
