# ReLA on gRefCOCO (unc): expressions mean several objects, one, or none. Swin-B at 480 x 480, BERT-base, 150,000 steps.
_base_ = [
    '../_base_/models/rela_swin_b.py',
    '../_base_/datasets/grefcoco.py',
    '../_base_/schedules/adamw_step_150k.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=6, sampler=dict(infinite=True))  # times 8 GPUs = 48
log_processor = dict(by_epoch=False)
