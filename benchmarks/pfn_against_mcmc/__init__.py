"""How far is a network from the posterior that it approximates? Against MCMC (emcee) on the same runs.

Run ``python -m benchmarks.pfn_against_mcmc [--weights FOLDER ...] [--curves 25] [--cutoffs 10 20 40 80] [--minutes 10]
[--kept FILE]``. Needs emcee (the `dev` extra).

The whole prior has no likelihood that could be written down: events, upsets, plans that are not known. So both sides
are asked about the part of it that has one, `app.pfn.prior.tractable`. emcee samples its thirteen parameters under its
own densities. Two networks are compared, unless `--weights` names others:

- `TRACTABLE`, trained on that part alone (``losscast train-pfn --prior tractable``): the same prior on both sides. What
  it falls short by is what a network of this size, and its features, lose.
- the one that ships, trained on the whole prior. It is not told that nothing will happen, and must reckon with it: what
  it falls short of the other network by is the price of the broader prior.

Of each run, questions about means of finitely many points are asked: given the parameters their density is normal, and
over the chain a mixture of normals. Where the noise of an answer is smaller than the distance of the chain's points
(Silverman's bandwidth) each normal is made that wide; and 2 % of each density is Student's t with the chain's mean and
deviation, since points are few in the tails, where an answer may lie. Both are to the sampler's advantage.

Scored are the answers that came, one a question; and, sharper, all that the sampler deems possible, each as often as it
deems it likely. What a network falls short by is the same in expectation, since the runs are drawn from the prior that
the sampler samples under, and without the luck of the answers: the Kullback-Leibler divergence of the network's
distribution from the sampler's, never below zero. It holds what the sampler gets wrong, too. How much that may be, the
two halves of a chain say, each judged by the other in the same way. A part of it is what a network keeps for answers
that the sampler rules out: further beyond the outermost of the likely ones than half of what lies between those.

The fall, the size and the noise are sampled as offsets from what fits best given all else (`Posterior.unfolded`).
Walkers start at the likeliest of 4,000 draws from the prior. What they find becomes a proposal, beside emcee's own
moves, for a new chain that starts where the last one ended; if that is too short, it becomes the burn-in of a longer
one. A chain has converged when it is `ENOUGH` autocorrelation times long, the largest of those of every coordinate
and of the levels asked about. Others, if any, are left out of the tables, and counted there.

Both are timed from the bins to the log densities, on one thread, one run at a time, in turn, the network with its
features: in seconds of a core, so that what else the machine does counts for neither. `--kept` writes what the sampler
said to a file, and takes from there what it said before, times included: a comparison that was cut off goes on, and
another network is compared within seconds. How many times faster it is means something only without it: the times are
of the same minutes then.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # both sides on one thread, before numpy is loaded
