"""From a curve and a plan to a predictive distribution over the steps to come. Pure."""
