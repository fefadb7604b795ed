# magnet_swin_b.py with gradients and optimizer state shared out over the GPUs by DeepSpeed's ZeRO 2 (docs/cluster.md).
# At least two processes, a GPU each, and `pip install deepspeed`.
_base_ = 'magnet_swin_b.py'

runner_type = 'FlexibleRunner'
optim_wrapper = dict(type='DeepSpeedOptimWrapper')
strategy = dict(
    type='DeepSpeedStrategy',
    zero_optimization=dict(stage=2, overlap_comm=True, contiguous_gradients=True),
    zero_allow_untested_optimizer=True,
)
