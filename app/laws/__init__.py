"""Laws of training curves, one a file, and exact inference over them. Pure."""
