"""The HTTP API that training jobs and scripts talk to: one module a subject, its routes and what they answer with."""
