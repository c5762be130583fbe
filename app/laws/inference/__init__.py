"""Exact Bayesian inference for the annealing law; :mod:`app.laws.inference.posterior` says how."""
