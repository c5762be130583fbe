"""Which schedule a logged learning rate follows, read off the rate itself: `infer.infer_schedule`."""
