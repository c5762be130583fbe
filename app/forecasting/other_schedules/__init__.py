"""What finished runs say of schedules that nobody has trained under, and how sure that is.

One to six runs of a recipe (model, data, batch) are fitted by several laws of the loss under a learning rate
(:mod:`app.forecasting.across_runs`); their mean predicts a candidate schedule. Its band is a Gaussian whose variance
is the sum of

- how far the laws differ from each other there,
- what the runs leave open of each law's parameters,
- how far the level of the fitted runs lies off the fit, in tenths of a run,
- beyond the fitted runs' peak rates, all that the laws make of the difference,
- what a law that fits one schedule gets wrong under another: the population's word on that (the sizes of the misfit
  that live forecasts use, :mod:`app.laws.prior`), grown by how far the candidate's rate and length lie from those of
  the nearest fitted run, and corrected by what is seen when each run is left out and predicted from the others. With
  one run nothing can be left out, and the population's word stands.
"""
