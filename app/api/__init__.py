"""What training jobs and scripts talk to: the HTTP API."""
