r"""The part of the prior whose likelihood has a closed form: what a sampler can be compared with the network on.

Runs of the generator without events, with white normal noise alone, a metric that falls and lies where its levels do,
everything of the plan known, a base of one of `TRACTABLE` families and no early transient, and a gain that comes by the
annealing law: one memory, on the clock of effective steps. All else is as the generator draws it, and by its own code:
`sampling` draws runs and throws away those that are outside. A network can be trained on them, and it and a sampler be
asked about others (`problems`): all three are one prior.

`posterior` is the other side. A run's parameters are written as the generator draws them, each as a function of one
standard normal number (`coordinates`), so that under the prior the coordinates are independent and normal, atoms and
mixtures included (a run that answers to no fall of the rate is an interval of its coordinate). Two have a density of
their own: the noise and nothing else depends on the fall. `tests/pfn/test_tractable_prior.py` holds both sides to each
other.
"""
