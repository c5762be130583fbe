"""AlgoPerf's published scores, as forecasts of accuracies are reported on them."""

from __future__ import annotations

import csv

from benchmarks.algoperf_scores import scores

# From the report's table (mlcommons/submissions_algorithms, Apache-2.0), out of their order.
TABLE = """\
submission,workload,workload_variant,study,trial,metric_name,target_value,higher_is_better,global_step,accumulated_submission_time,metric_value
ademamix,wmt,wmt_pytorch,1,1,bleu,30.8491,True,4145,715.8868398666382,22.11825433109493
ademamix,wmt,wmt_pytorch,1,1,bleu,30.8491,True,1,73.81090426445007,0.0
ademamix,fastmri,fastmri_pytorch,1,1,ssim,0.723653,True,295,315.2158372402191,0.699728532661262
ademamix,fastmri,fastmri_pytorch,0,1,ssim,0.723653,True,288,348.767276763916,0.695283923044457
"""


def test_one_trials_scores_are_taken_in_the_order_of_their_steps_and_rounded() -> None:
    rows = list(csv.DictReader(TABLE.splitlines()))
    assert scores(rows, "wmt", "ademamix", 1) == [("step", "val_bleu"), ("1", "0.00000"), ("4145", "22.11825")]
    assert scores(rows, "fastmri", "ademamix", 0) == [("step", "val_ssim"), ("288", "0.695284")]


def test_a_curve_that_the_table_does_not_hold_is_empty() -> None:
    assert scores(list(csv.DictReader(TABLE.splitlines())), "ogbg", "ademamix", 0) == []
