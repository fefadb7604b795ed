# Mask Grounding with less data, for tools/analysis_tools/ablation/ablate.py: the first N refs of synthetic.py, as many
# steps. Compare with the same names in grid_methods.py, whose trainings see 14 400 refs once.
splits = ['val', 'testB']
reference = 'LAVT'
seeds = 3


def first(refs, epochs):
    """Options of a training on the first `refs` refs; its epochs have 900 steps together."""
    return {
        'train_dataloader.dataset.indices': refs,
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_begin': epochs + 1,
        'param_scheduler.1.end': epochs,
    }


runs = {}
for refs, epochs in ((600, 24), (2400, 6)):
    runs[f'LAVT, {refs} refs'] = dict(config='lavt.py', options=first(refs, epochs), reference=f'LAVT, {refs} refs')
    runs[f'LAVT + Mask Grounding, {refs} refs'] = dict(
        config='lavt_grounding.py', options=first(refs, epochs), reference=f'LAVT, {refs} refs'
    )
