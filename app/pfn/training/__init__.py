"""Training of the network. The only room that may import torch; nothing at run time comes here."""
