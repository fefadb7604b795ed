# Mask Grounding with less data, for tools/analysis_tools/ablation/ablate.py: the first refs of synthetic.py in 912 and
# 900 steps. LAVT and its variant in grid_methods.py see 14 400 refs once.
splits = ['val', 'testB']
reference = 'LAVT'
seeds = 3


def first(refs, epochs):
    """Options of a training on the first `refs` refs; an epoch has `refs` / 16 steps, rounded up."""
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
